// The cells of tests/shared/cells.json by the JavaScript client: each language,
// form of result and chart; then contexts, callbacks and reconnecting.
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { after, before, describe, test } from 'node:test'
import { Sandbox } from '@e2b/code-interpreter'

const CELLS = JSON.parse(readFileSync(new URL('./cells.json', import.meta.url), 'utf8'))
const LIMIT = 90_000

function check(cell, execution) {
  assert.equal(execution.error?.name, cell.error)
  assert.equal(execution.logs.stdout.join(''), cell.stdout ?? '')
  assert.equal(execution.logs.stderr.join(''), cell.stderr ?? '')
  const wanted = cell.results ?? []
  assert.equal(execution.results.length, wanted.length)
  execution.results.forEach((result, at) => {
    for (const [name, value] of Object.entries(wanted[at])) {
      if (name === 'main') assert.equal(result.isMainResult, value)
      else assert.deepEqual(JSON.parse(JSON.stringify(result[name])), value, name)
    }
  })
}

describe('cells', { timeout: 600_000 }, () => {
  let sandbox
  before(async () => {
    sandbox = await Sandbox.create({ timeoutMs: 600_000 })
  })
  after(() => sandbox.kill())

  for (const cell of CELLS) {
    // Rows 48, 50, 51, 52, 53, 54, 55, 58.
    test(cell.name, async () => {
      const seen = { stdout: [], stderr: [], results: 0, errors: 0 }
      const execution = await sandbox.runCode(cell.code, {
        language: cell.language,
        envs: cell.envs,
        timeoutMs: LIMIT,
        onStdout: (message) => void seen.stdout.push(message.line),
        onStderr: (message) => void seen.stderr.push(message.line),
        onResult: () => void (seen.results += 1),
        onError: () => void (seen.errors += 1),
      })
      check(cell, execution)
      assert.equal(seen.stdout.join(''), cell.stdout ?? '')
      assert.equal(seen.stderr.join(''), cell.stderr ?? '')
      assert.deepEqual([seen.results, seen.errors], [cell.results?.length ?? 0, 'error' in cell ? 1 : 0])
    })
  }

  // Rows 49, 56, 57, 59, 61.
  test('contexts of each language, state, counts and reconnecting', async () => {
    const first = await sandbox.runCode('kept = 20')
    const again = await Sandbox.connect(sandbox.sandboxId)
    const second = await again.runCode('kept + 1')
    assert.deepEqual([second.text, second.executionCount], ['21', first.executionCount + 1])
    const where = { python: 'import os\nprint(os.getcwd())', javascript: 'console.log(process.cwd())', bash: 'pwd', r: 'cat(getwd())' }
    for (const [language, code] of Object.entries(where)) {
      const context = await sandbox.createCodeContext({ language, cwd: '/tmp' })
      assert.deepEqual([context.language, context.cwd], [language, '/tmp'])
      assert.equal((await sandbox.runCode(code, { context, timeoutMs: LIMIT })).logs.stdout.join('').trim(), '/tmp')
      assert.equal((await sandbox.listCodeContexts()).at(-1).id, context.id)
      await sandbox.restartCodeContext(context)
      assert.equal((await sandbox.runCode(code, { context, timeoutMs: LIMIT })).logs.stdout.join('').trim(), '/tmp')
      await sandbox.removeCodeContext(context)
    }
  })

  // Row 60.
  test('a time limit interrupts, and the state stays', async () => {
    await sandbox.runCode('kept = 20')
    await assert.rejects(sandbox.runCode('import time\ntime.sleep(60)', { timeoutMs: 1000 }))
    assert.equal((await sandbox.runCode('kept', { timeoutMs: LIMIT })).text, '20')
  })
})
