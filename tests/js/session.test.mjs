// The wrapper class of examples/session, against a real server.
import assert from 'node:assert/strict'
import { after, describe, test } from 'node:test'
import { SandboxSession, SessionError } from './session.mjs'

const OPTIONS = { url: process.env.E2B_API_URL, apiKey: process.env.E2B_API_KEY }

describe('the session wrapper', { timeout: 60_000 }, () => {
  const session = new SandboxSession(`js ${crypto.randomUUID()}/ü`, OPTIONS)
  after(() => session.stop())

  test('a session lives from its first call to its stop', async () => {
    assert.equal(await session.status(), null)
    const info = await session.start({ sandboxType: 'code_interpreter' })
    assert.deepEqual([info.session_id, info.status], [session.sessionId, 'running'])
    assert.equal((await session.status()).sandbox_id, info.sandbox_id)
  })

  test('code keeps its state, and what it raises is an answer', async () => {
    await session.execute('x = 41')
    const printed = await session.execute('print(x + 1)')
    assert.deepEqual([printed.success, printed.output, printed.error], [true, '42\n', null])
    const failed = await session.execute('1 / 0')
    assert.equal(failed.success, false)
    assert.match(failed.error, /^ExecutionError\(name='ZeroDivisionError'/)
  })

  test('files come back unchanged', async () => {
    const bytes = Uint8Array.from({ length: 100_000 }, (_, index) => index % 251)
    const path = await session.upload(new Blob([bytes]), 'dätei.bin', '/home/user/in')
    assert.equal(path, '/home/user/in/dätei.bin')
    assert.deepEqual(new Uint8Array(await (await session.download(path)).arrayBuffer()), bytes)
    assert.deepEqual(await session.files('/home/user/in'), [{ path, size: 100_000, is_directory: false }])
  })

  test('artifacts are fetched with the same key', async () => {
    const { artifacts } = await session.execute("open('/home/user/out.csv', 'w').write('a,b')")
    // A file of a hundredth of a second before may be among them: the one that was uploaded above.
    const made = artifacts.filter((url) => url.includes('out.csv'))
    assert.equal(made.length, 1, artifacts.join())
    assert.equal(await (await session.artifact(made[0])).text(), 'a,b')
  })

  test('errors have a status and a detail', async () => {
    const refused = (call, status, detail) =>
      assert.rejects(call, (error) => {
        assert.ok(error instanceof SessionError)
        assert.deepEqual([error.status, detail.test(error.detail)], [status, true], error.message)
        return true
      })
    await refused(session.execute(''), 400, /^code is empty$/)
    await refused(session.install('--pre'), 400, /option/)
    await refused(session.download('/nope'), 404, /^file not found: \/nope$/)
    await refused(new SandboxSession('nobody', { ...OPTIONS, apiKey: 'e2b_00' }).status(), 401, /API key/)
  })
})
