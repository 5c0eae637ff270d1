/** The command line: its commands, their flags and their help. */
import { Argument, Command, CommanderError, Option } from 'commander'
import { optionTable } from '../options.ts'
import type { Environment } from '../options/read.ts'
import { convertCommand, type ConvertFlags } from './convert-command.ts'
import { demoCommand, demoOptions, demoWords } from './demo-command.ts'
import { edgeCommand, type EdgeFlags } from './edge-command.ts'
import { exitCodes, type Io } from './io.ts'
import { addOptionFlags, readOptionFlags } from './option-flags.ts'
import { httpCommand, httpOptions, runCommand, runOptions } from './run-command.ts'

const environmentHelp = `
Each option can also stand in the environment, --grace-period as HEADGATE_GRACE_PERIOD; a flag wins. Lists are
separated by commas. HEADGATE_TUNNEL_TOKEN (or TUNNEL_TOKEN) holds the token of a Cloudflare Tunnel to connect to, and
HEADGATE_AUTH_TOKEN the one that /config asks for: no flags do, since everybody can see flags. docs/operations.md has the names of cloudflare-tunnel-gateway-controller's proxy that work too.`

/**
 * Runs the command.
 *
 * @param argv without the program and the script
 * @returns the exit code; rejects only for mistakes of our own
 */
export async function run(argv: readonly string[], environment: Environment, io: Io): Promise<number> {
  let exitCode: number = exitCodes.ok
  const program = createProgram(environment, io, (code) => (exitCode = code))
  try {
    if (argv.length === 0) {
      io.err(program.helpInformation())
      return exitCodes.usage
    }
    // An address alone is a server to show to the world.
    const words = /^https?:\/\//i.test(argv[0]!) ? ['http', ...argv] : argv
    await program.parseAsync(words, { from: 'user' })
    return exitCode
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error
    return error.exitCode === 0 ? exitCodes.ok : exitCodes.usage
  }
}

/** Other programs take secrets so; whoever comes from there is told what to do instead, and nothing is echoed. */
const secretFlags = {
  '--token': 'TUNNEL_TOKEN, TUNNEL_TOKEN_FILE or --tunnel-token-file',
  '--tunnel-token': 'TUNNEL_TOKEN, TUNNEL_TOKEN_FILE or --tunnel-token-file',
  '--auth-token': 'HEADGATE_AUTH_TOKEN or --auth-token-file',
} as const

function refuseSecretFlags(command: Command): void {
  for (const [flag, instead] of Object.entries(secretFlags)) {
    const refuse = (): never =>
      command.error(`headgate: ${flag}: every user of this machine can read a command line; use ${instead}`)
    command.addOption(new Option(`${flag} <secret>`).hideHelp().argParser(refuse))
  }
}

function createProgram(environment: Environment, io: Io, done: (exitCode: number) => void): Command {
  const program = new Command('headgate')
    .description('An HTTP gateway that routes by the Kubernetes Gateway API.')
    .version(io.version, '--version', 'print the version')
    .helpOption('--help', 'print this help')
    .helpCommand('help [command]', 'print the help of a command')
    .exitOverride()
    .configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      getOutHelpWidth: () => 100,
      getErrHelpWidth: () => 100,
      outputError: (text, write) => write(text.replace(/^error: /, 'headgate: ')),
    })
    .showSuggestionAfterError()
    .addHelpText(
      'after',
      '\nExit codes: 0 done, or stopped in order; 1 refused or failed; 2 not a command line of ours.',
    )

  const runIt = program
    .command('run')
    .description(
      'Serve Gateway API manifests, a ProxyConfig file, or configs pushed to the admin API: in a tunnel, or on addresses.',
    )
    .usage('[--manifests PATH... | --config FILE | --origin URL] [--quick] [--listen ADDR] [--admin ADDR] [options]')
    .addHelpText('after', environmentHelp)
  addOptionFlags(runIt, runOptions).action(async () => {
    done(await runCommand(readOptionFlags(runIt, runOptions), environment, io))
  })
  refuseSecretFlags(runIt)

  const httpIt = program
    .command('http')
    .description('Show a local HTTP server to the world: run --quick --origin URL. A URL alone means the same.')
    .addArgument(new Argument('<url>', 'the server, such as http://localhost:3000'))
    .usage('URL [options]')
  addOptionFlags(httpIt, httpOptions).action(async (url: string) => {
    const flags = readOptionFlags(httpIt, httpOptions)
    done(await httpCommand(url, flags, environment, io))
  })

  const convertIt = program
    .command('convert')
    .description('Print the ProxyConfig that Gateway API manifests come to; findings go to the error output.')
    .addArgument(new Argument('<path...>', 'files and folders of manifests; - for the standard input'))
    .addOption(new Option('--output <format>', 'how the config is printed').choices(['json', 'yaml']).default('json'))
    .option('--strict', 'exit with 1 when something is not served as it was written', false)
    .option('--gateway-class <name>', optionTable.gatewayClass.help)
    .option('--cluster-domain <domain>', optionTable.clusterDomain.help, optionTable.clusterDomain.fallback)
    .action(async (paths: readonly string[], flags: ConvertFlags) => {
      const { runtime } = await io.openHost({ logLevel: 'warn', fastSockets: false })
      done(await convertCommand(paths, flags, io, runtime.files))
    })
  convertIt.usage('[options] PATH...')

  const demoIt = program
    .command('demo')
    .description(
      'Serve the examples through a tunnel with both its ends on this machine, in front of small backends of our own, and say what to try.',
    )
    .addOption(new Option('--direct', 'Leave the tunnel out: the gateway itself listens.').helpGroup('Tunnel:'))
  addOptionFlags(demoIt, demoOptions, demoWords).action(async ({ direct = false }: { direct?: boolean }) => {
    done(await demoCommand(readOptionFlags(demoIt, demoOptions), direct, io))
  })

  program
    .command('edge')
    .description(
      'Be the other end of a tunnel on this machine: a local edge, for trying things out without an account.',
    )
    .option('--listen <addr>', 'where requests come in', '127.0.0.1:8000')
    .option('--connectors <addr...>', 'where connectors dial; each takes one connection of a connector', [
      '127.0.0.1:7844',
    ])
    .option(
      '--api <addr>',
      'where POST /tunnel gives out quick tunnels and PUT /configuration pushes',
      '127.0.0.1:8001',
    )
    .option('--directory <dir>', 'where ca.pem and the token are written; becomes private (0700)', '.headgate-edge')
    .action(async (flags: EdgeFlags) => {
      done(await edgeCommand(flags, io))
    })
  return program
}
