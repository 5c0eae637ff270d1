import { runProgram } from '../portable/program.ts'
import { openRuntime } from './runtime.ts'

await runProgram(openRuntime)
