#!/usr/bin/env node
/*
 * `exec` for shells that have none, as on Windows. Where the shell has its own, our scripts use that one: the program then
 * takes the place of the shell, and is the one that npm passes signals to and takes the exit code from.
 */
import { spawnSync } from 'node:child_process'

const [program = '', ...args] = process.argv.slice(2)
const { status, error } = spawnSync(program, args, { stdio: 'inherit' })
if (error) console.error(error.message)
process.exitCode = status ?? 1
