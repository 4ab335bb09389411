// The thread of the kernel: the service's socket on one side, the user's thread
// on the other, whose inspector it asks.
//
// Frames both ways: `KIND ID LENGTH\n` and so many bytes. It works on while the
// user's thread is busy, so output streams and an interrupt arrives.

'use strict'

const fs = require('node:fs')
const inspector = require('node:inspector')
const net = require('node:net')
const { StringDecoder } = require('node:string_decoder')
const { parentPort, workerData: flag } = require('node:worker_threads')
const { rewrite } = require('./rewrite.cjs')

const path = process.argv[2]
/** Only to stop what runs: it is answered from the middle of a loop. */
const stopper = new inspector.Session()
stopper.connectToMainThread()

let socket = null
let count = 0
/** The request that runs. */
let current = null
let interrupted = false

const asked = new Map()
let questions = 0

function post(method, parameters = {}) {
  const id = (questions += 1)
  parentPort.postMessage({ id, method, parameters })
  return new Promise((resolve, reject) => asked.set(id, { resolve, reject }))
}

function answered({ id, error, result }) {
  const { resolve, reject } = asked.get(id)
  asked.delete(id)
  if (error) reject(new Error(error.message))
  else resolve(result)
}

function send(kind, content) {
  const payload = typeof content === 'string' ? content : JSON.stringify(content)
  const taken = socket?.write(`${kind} ${current?.id ?? '-'} ${Buffer.byteLength(payload)}\n${payload}`)
  // What the service does not take yet waits with whoever writes it.
  if (taken === false) outputs.forEach(({ stream }) => stream.pause())
}

// ---- What the user's thread and its children print.

const outputs = ['out', 'err'].map((end) => {
  const fd = fs.openSync(`${path}.${end}`, fs.constants.O_RDONLY | fs.constants.O_NONBLOCK)
  // Held so that a cell that closes its stream does not end the pipe.
  fs.openSync(`${path}.${end}`, fs.constants.O_WRONLY)
  fs.unlinkSync(`${path}.${end}`)
  const stream = new net.Socket({ fd, readable: true, writable: false })
  const output = { fd, stream, name: `std${end}`, decoder: new StringDecoder('utf8') }
  stream.on('data', (chunk) => print(output, chunk))
  return output
})

function print(output, chunk) {
  const text = output.decoder.write(chunk)
  // Between cells there is nobody to read it.
  if (current && text) send('stream', { name: output.name, text })
}

/** Sends what lies in the pipes. Whoever wrote it has come to its end. */
function drain() {
  const chunk = Buffer.allocUnsafe(65536)
  for (const output of outputs) {
    for (;;) {
      let length = 0
      try {
        length = fs.readSync(output.fd, chunk)
      } catch (error) {
        if (error.code !== 'EAGAIN') throw error
      }
      if (length === 0) break
      print(output, chunk.subarray(0, length))
    }
  }
}

parentPort.on('message', (message) => {
  if (message.kind === 'answer') return answered(message)
  drain()
  if (message.kind === 'display' && current) send('display_data', `{"data":${message.data}}`)
  Atomics.store(flag, 0, 1)
  Atomics.notify(flag, 0)
})

// ---- Cells.

async function call(text, argument) {
  const { result, exceptionDetails } = await post('Runtime.callFunctionOn', {
    functionDeclaration: text,
    arguments: [argument],
    executionContextId: 1,
    returnByValue: true,
    silent: true,
  })
  if (exceptionDetails) throw new Error(exceptionDetails.exception?.description ?? exceptionDetails.text)
  return result.value
}

/** A remote object as an argument of another call. */
function argument({ objectId, value, unserializableValue }) {
  return objectId ? { objectId } : unserializableValue ? { unserializableValue } : { value }
}

async function evaluate(code) {
  let answer = await post('Runtime.evaluate', {
    expression: code,
    replMode: true,
    awaitPromise: true,
    objectGroup: 'cell',
    silent: true,
  })
  // A promise as the last expression stands for what it becomes.
  if (!answer.exceptionDetails && answer.result.subtype === 'promise') {
    answer = await post('Runtime.awaitPromise', { promiseObjectId: answer.result.objectId })
  }
  if (answer.exceptionDetails) throw answer.exceptionDetails
  const shown = await call('function (value) { return __show(value) }', argument(answer.result))
  if (shown !== undefined) {
    drain()
    send('execute_result', `{"data":${shown}}`)
  }
}

const DESCRIBE = `function (error) {
  const isError = error !== null && typeof error === 'object' && typeof error.stack === 'string'
  return isError
    ? { name: String(error.name), value: String(error.message), traceback: error.stack }
    : { name: 'Error', value: typeof error === 'string' ? error : require('node:util').inspect(error), traceback: '' }
}`

async function failure(details) {
  if (interrupted) return { name: 'Interrupted', value: 'The code was interrupted', traceback: '' }
  if (details instanceof Error) return { name: details.name, value: details.message, traceback: '' }
  if (!details.exception) return { name: 'Error', value: details.text, traceback: '' }
  const told = await call(DESCRIBE, argument(details.exception))
  const at = details.stackTrace ? '' : ` (line ${details.lineNumber + 1})`
  if (told.name === 'SyntaxError') told.value += at
  // Frames below the cell's own are the inspector's.
  told.traceback ||= `Uncaught ${told.value}`
  return told
}

async function execute(code, language) {
  count += 1
  interrupted = false
  send('status', { execution_state: 'busy' })
  send('execute_input', { execution_count: count })
  let status = 'ok'
  try {
    await evaluate(`${rewrite(code, language)}\n//# sourceURL=cell-${count}`)
  } catch (details) {
    status = 'error'
    const { name, value, traceback } = await failure(details)
    drain()
    send('error', { ename: name, evalue: value, traceback: [traceback] })
  }
  await post('Runtime.releaseObjectGroup', { objectGroup: 'cell' })
  drain()
  finish(status)
}

function finish(status) {
  send('execute_reply', { status })
  send('status', { execution_state: 'idle' })
  current = null
}

async function setEnv(changes) {
  await call('function (changes) { __setEnv(changes) }', { value: changes })
  finish('ok')
}

/** Code that computes is stopped where it is. Code that waits cannot be: its kernel ends. */
async function interrupt() {
  const PATIENCE = 500
  const running = current
  if (!running) return
  interrupted = true
  setTimeout(() => {
    if (current === running) process.kill(process.pid, 'SIGKILL')
  }, PATIENCE)
  stopper.post('Runtime.terminateExecution')
}

// ---- Requests.

function take({ kind, id, payload }) {
  if (kind === 'interrupt') return void interrupt()
  current = { id }
  if (kind === 'javascript' || kind === 'typescript') return void execute(payload.toString(), kind)
  if (kind === 'envs') return void setEnv(JSON.parse(payload.toString()))
  finish('error')
}

function frames(connection) {
  let pending = Buffer.alloc(0)
  connection.on('data', (chunk) => {
    pending = Buffer.concat([pending, chunk])
    for (;;) {
      const end = pending.indexOf(10)
      if (end < 0) return
      const [kind, id, length] = pending.subarray(0, end).toString().split(' ')
      const size = end + 1 + Number(length)
      if (pending.length < size) return
      const payload = pending.subarray(end + 1, size)
      pending = pending.subarray(size)
      take({ kind, id, payload })
    }
  })
}

const server = net.createServer((connection) => {
  server.close()
  socket = connection
  connection.on('drain', () => outputs.forEach(({ stream }) => stream.resume()))
  connection.on('close', () => process.exit(0))
  connection.on('error', () => process.exit(0))
  frames(connection)
})
server.listen(path)
