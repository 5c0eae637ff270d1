import { chmod, mkdir, mkdtemp, readdir, rename, rm, stat, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { files } from '../../../adapters/portable/files.ts'

let folder = ''

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'headgate-files-'))
})
afterEach(() => rm(folder, { recursive: true }))

const modeOf = async (path: string): Promise<string> => ((await stat(path)).mode & 0o777).toString(8)

describe('readAll', () => {
  test('reads what is below a folder, sorted, by the end of the name, hidden names left out', async () => {
    await mkdir(join(folder, 'b', '..data'), { recursive: true })
    const all = ['z.yaml', 'a.yml', 'a.txt', '.hidden.yaml', 'b/c.yaml', 'b/..data/d.yaml']
    for (const name of all) await writeFile(join(folder, name), name)
    expect(await files.readAll(folder, ['.yaml', '.yml'])).toEqual(
      ['a.yml', 'b/c.yaml', 'z.yaml'].map((name) => ({ path: join(folder, name), text: name })),
    )
  })

  test('reads one file whatever its name', async () => {
    const path = join(folder, 'x.conf')
    await writeFile(path, 'ä')
    expect(await files.readAll(path, ['.yaml'])).toEqual([{ path, text: 'ä' }])
  })

  test('follows the links of a mounted ConfigMap', async () => {
    await mkdir(join(folder, '..2026'))
    await writeFile(join(folder, '..2026', 'a.yaml'), 'one')
    await symlink('..2026', join(folder, '..data'))
    await symlink(join('..data', 'a.yaml'), join(folder, 'a.yaml'))
    expect(await files.readAll(folder, ['.yaml'])).toEqual([{ path: join(folder, 'a.yaml'), text: 'one' }])
  })

  test('fails where there is nothing', async () => {
    await expect(files.readAll(join(folder, 'none'), ['.yaml'])).rejects.toThrow('none')
    await expect(files.read(join(folder, 'none'))).rejects.toThrow('none')
  })
})

describe('writeAtomically', () => {
  test('makes its folder for the owner alone, and the file too', async () => {
    const path = join(folder, 'state', 'config.json')
    await files.writeAtomically(path, 'one')
    expect(await files.read(path)).toBe('one')
    expect(await modeOf(path)).toBe('600')
    expect(await modeOf(join(folder, 'state'))).toBe('700')
  })

  test('makes the folders above as well, and each is private', async () => {
    await files.writeAtomically(join(folder, 'a', 'b', 'c.json'), 'one')
    expect([await modeOf(join(folder, 'a')), await modeOf(join(folder, 'a', 'b'))]).toEqual(['700', '700'])
  })

  test.runIf(process.platform === 'linux')(
    'fails where no folder can be made, instead of trying for ever',
    async () => {
      await expect(files.writeAtomically('/proc/headgate/config.json', 'one')).rejects.toThrow('/proc/headgate')
    },
  )

  test('replaces a file, and takes rights away from others', async () => {
    const path = join(folder, 'config.json')
    await writeFile(path, 'old')
    await chmod(path, 0o644)
    await files.writeAtomically(path, 'new')
    expect(await files.read(path)).toBe('new')
    expect(await modeOf(path)).toBe('600')
    expect(await readdir(folder)).toEqual(['config.json'])
  })

  test('leaves the old file and nothing else where it fails', async () => {
    const path = join(folder, 'taken')
    await mkdir(join(path, 'inside'), { recursive: true })
    await expect(files.writeAtomically(path, 'new')).rejects.toThrow('taken')
    expect(await readdir(folder)).toEqual(['taken'])
  })
})

describe('watch', () => {
  async function watching(paths: readonly string[], change: () => Promise<void>): Promise<void> {
    let count = 0
    const watch = files.watch(paths, () => void count++)
    try {
      await change()
      await vi.waitFor(() => expect(count).toBeGreaterThan(0), { timeout: 10_000 })
    } finally {
      watch.close()
    }
  }

  test('sees a file written again', async () => {
    const path = join(folder, 'a.yaml')
    await writeFile(path, 'one')
    await watching([path], () => writeFile(path, 'longer'))
  })

  test('sees a file replaced by another, as editors do', async () => {
    const path = join(folder, 'a.yaml')
    await writeFile(path, 'one')
    await writeFile(join(folder, 'b'), 'two')
    await watching([path], () => rename(join(folder, 'b'), path))
  })

  test('sees a file that comes later', async () => {
    const path = join(folder, 'later.yaml')
    await watching([path], () => writeFile(path, 'one'))
  })

  test('sees a file that goes away', async () => {
    const path = join(folder, 'a.yaml')
    await writeFile(path, 'one')
    await watching([folder], () => rm(path))
  })

  test('sees the links of a mounted ConfigMap change', async () => {
    for (const name of ['..1', '..2']) {
      await mkdir(join(folder, name))
      await writeFile(join(folder, name, 'a.yaml'), name)
    }
    await symlink('..1', join(folder, '..data'))
    await symlink(join('..data', 'a.yaml'), join(folder, 'a.yaml'))
    await watching([folder], async () => {
      await symlink('..2', join(folder, '..new'))
      await rename(join(folder, '..new'), join(folder, '..data'))
    })
    expect(await files.read(join(folder, 'a.yaml'))).toBe('..2')
  })

  test('sees files in folders below', async () => {
    await mkdir(join(folder, 'deep', 'er'), { recursive: true })
    let count = 0
    const watch = files.watch([folder], () => void count++)
    // No event tells of these: the first look must have been taken before there is a difference to see.
    await vi.waitFor(
      async () => {
        await writeFile(join(folder, 'deep', 'er', 'a.yaml'), 'a'.repeat(performance.now() % 1_000))
        expect(count).toBeGreaterThan(0)
      },
      { timeout: 10_000, interval: 100 },
    )
    watch.close()
  })

  test('goes on after the first change, and says nothing after it was closed', async () => {
    const path = join(folder, 'a.yaml')
    await writeFile(path, '')
    let count = 0
    const watch = files.watch([path], () => void count++)
    for (let i = 1; i <= 3; i++) {
      const before = count
      await writeFile(path, 'a'.repeat(i))
      await vi.waitFor(() => expect(count).toBeGreaterThan(before), { timeout: 10_000 })
    }
    watch.close()
    const before = count
    await writeFile(path, 'the last')
    await new Promise((resolve) => setTimeout(resolve, 200))
    expect(count).toBe(before)
  })
})
