// The thread of the user's code: globals that cells expect, and nothing else.
//
//   service ──socket── link.cjs (a thread of its own) ──messages── this thread
//
// Code runs through the inspector, which knows what no other interface does:
// top-level `await`, names declared anew by a later cell, and an end for a loop
// that never ends.

'use strict'

const inspector = require('node:inspector')
const { createRequire } = require('node:module')
const path = require('node:path')
const vm = require('node:vm')
const { Worker } = require('node:worker_threads')
const { display, make, wrap } = require('./show.cjs')

const flag = new Int32Array(new SharedArrayBuffer(4))
const link = new Worker(path.join(__dirname, 'link.cjs'), { argv: process.argv.slice(2), workerData: flag })
link.on('error', (error) => {
  process.stderr.write(`${error.stack}\n`)
  process.exit(70)
})
link.on('exit', () => process.exit(0))

const session = new inspector.Session()
session.connect()
link.on('message', ({ id, method, parameters }) =>
  session.post(method, parameters, (error, result) => link.postMessage({ kind: 'answer', id, error, result })))

/** Waits until the link has sent everything that was written so far. */
function settle(message) {
  Atomics.store(flag, 0, 0)
  link.postMessage(message)
  Atomics.wait(flag, 0, 0, 5000)
}

// The two streams are two pipes; without this their order among each other is lost.
let latest = process.stdout
for (const stream of [process.stdout, process.stderr]) {
  const write = stream.write
  stream.write = function (...args) {
    if (latest !== stream) {
      latest = stream
      settle({ kind: 'settle' })
    }
    return write.apply(this, args)
  }
}

function hidden(name, value) {
  Object.defineProperty(globalThis, name, { value, writable: true, configurable: true, enumerable: false })
}

/** `import()` for code that has no module of its own; found from the present directory. */
function importer() {
  let from
  let load
  return (name, options) => {
    const here = path.join(process.cwd(), 'cell.js')
    if (here !== from) {
      const importModuleDynamically = vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER
      load = vm.runInThisContext('(name, options) => import(name, options)', { filename: here, importModuleDynamically })
      from = here
    }
    return load(name, options)
  }
}

const start = path.join(process.cwd(), 'cell.js')
const require_ = createRequire(start)
module.constructor.globalPaths.push('/usr/local/lib/node_modules')
hidden('require', require_)
hidden('module', { exports: {}, filename: start, paths: require_.resolve.paths('x') })
hidden('exports', globalThis.module.exports)
hidden('__filename', start)
hidden('__dirname', process.cwd())
hidden('__import', importer())
hidden('__show', make)
hidden('__setEnv', (changes) => {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) delete process.env[name]
    else process.env[name] = value
  }
})
hidden('display', (value) => settle({ kind: 'display', data: display(value) }))
hidden('$$', wrap)

// What fails after its cell is over has nobody to tell but the reader.
const report = (error) => console.error('Uncaught', error)
process.on('uncaughtException', report)
process.on('unhandledRejection', report)
// Interrupts come through the link; the signal is for child processes.
process.on('SIGINT', () => {})
process.argv.splice(1)
