/** The files that an option names, read once at start. */
import type { Options } from '../options.ts'
import type { ListenOptions, Runtime } from '../runtime.ts'
import { StartRefusal } from './start-refusal.ts'

/** The token for the admin API: the file's, else the environment's. */
export async function readToken(options: Options, { files }: Runtime): Promise<string | undefined> {
  const { authTokenFile: file, authToken } = options
  if (file === undefined) return authToken
  const token = (await readOperatorFile(files, file, '--auth-token-file')).trim()
  if (!/^[\x21-\x7e]+$/.test(token)) {
    throw new StartRefusal([
      `--auth-token-file: ${file} must hold one line of printable ASCII without spaces, and is ${token === '' ? 'empty' : 'something else'}.`,
    ])
  }
  return token
}

export async function readAdminTls(options: Options, { files }: Runtime): Promise<ListenOptions['tls']> {
  const { adminTlsCert, adminTlsKey } = options
  if (adminTlsCert === undefined || adminTlsKey === undefined) return undefined
  const cert = await readOperatorFile(files, adminTlsCert, '--admin-tls-cert')
  const key = await readOperatorFile(files, adminTlsKey, '--admin-tls-key')
  const reasons: string[] = []
  if (!cert.includes('-----BEGIN CERTIFICATE-----'))
    reasons.push(`--admin-tls-cert: ${adminTlsCert} holds no certificate in PEM form.`)
  if (!/-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----/.test(key))
    reasons.push(`--admin-tls-key: ${adminTlsKey} holds no private key in PEM form.`)
  else if (/-----BEGIN ENCRYPTED |^Proc-Type: 4,ENCRYPTED/m.test(key))
    reasons.push(`--admin-tls-key: ${adminTlsKey} is encrypted: give a key without a passphrase.`)
  if (reasons.length > 0) throw new StartRefusal(reasons)
  return { cert, key }
}

async function readOperatorFile(files: Runtime['files'], path: string, option: string): Promise<string> {
  try {
    return await files.read(path)
  } catch (error) {
    throw new StartRefusal([`${option} cannot be read: ${(error as Error).message}.`])
  }
}
