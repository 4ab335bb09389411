// The JavaScript twin of the Python suites, smaller: what the two SDKs do
// differently on the wire (chunked bodies, streams, error codes) is tried here.
import assert from 'node:assert/strict'
import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import * as base from 'e2b'
import { Sandbox } from '@e2b/code-interpreter'

const LIMIT = { timeout: 60_000 }

async function until(condition, what, ms = 10_000) {
  const end = Date.now() + ms
  while (Date.now() < end) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`not within ${ms} ms: ${what}`)
}

describe('commands', LIMIT, () => {
  let sandbox
  before(async () => {
    sandbox = await base.Sandbox.create('base', { timeoutMs: 300_000, envs: { WHO: 'js' } })
  })
  after(() => sandbox.kill())

  test('results and streams', async () => {
    const seen = []
    const result = await sandbox.commands.run('echo $WHO; echo e >&2; sleep 0.5; echo late', {
      onStdout: (text) => {
        seen.push([Date.now(), text])
      },
    })
    assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['js\nlate\n', 'e\n', 0])
    assert.ok(seen.at(-1)[0] - seen[0][0] > 300, 'output comes while the command runs')
  })

  test('an exit code is an error', async () => {
    await assert.rejects(sandbox.commands.run('echo why >&2; exit 4'), (error) => {
      assert.ok(error instanceof base.CommandExitError)
      assert.deepEqual([error.exitCode, error.stderr], [4, 'why\n'])
      return true
    })
  })

  test('stdin, its end, and reconnecting', async () => {
    const handle = await sandbox.commands.run('cat', { background: true, stdin: true })
    const other = await sandbox.commands.connect(handle.pid)
    await sandbox.commands.sendStdin(handle.pid, 'zeile ✓\n')
    await sandbox.commands.closeStdin(handle.pid)
    assert.equal((await handle.wait()).stdout, 'zeile ✓\n')
    assert.equal((await other.wait()).stdout, 'zeile ✓\n')
  })

  test('list and kill', async () => {
    const handle = await sandbox.commands.run('sleep 60', { background: true })
    assert.ok((await sandbox.commands.list()).some((one) => one.pid === handle.pid))
    assert.equal(await sandbox.commands.kill(handle.pid), true)
    await assert.rejects(handle.wait(), base.CommandExitError)
    assert.equal(await sandbox.commands.kill(9_999_999), false)
    await assert.rejects(sandbox.commands.connect(9_999_999), base.NotFoundError)
  })

  test('the time limit', async () => {
    await assert.rejects(sandbox.commands.run('sleep 30', { timeoutMs: 1000 }), base.TimeoutError)
  })

  test('no time limit', async () => {
    assert.equal((await sandbox.commands.run('sleep 1; echo on', { timeoutMs: 0 })).stdout, 'on\n')
  })

  test('broken UTF-8', async () => {
    const { stdout } = await sandbox.commands.run("head -c 8191 /dev/zero | tr '\\0' a; printf '\\342'")
    assert.ok(stdout.startsWith('a'.repeat(8191)))
  })

  test('leaving a command and finding it again', async () => {
    const handle = await sandbox.commands.run('sleep 1; echo late', { background: true })
    await handle.disconnect()
    assert.equal((await (await sandbox.commands.connect(handle.pid)).wait()).stdout, 'late\n')
    assert.equal((await (await sandbox.commands.connect(handle.pid)).wait()).exitCode, 0)
  })

  test('user, directory, environment', async () => {
    const options = { user: 'root', cwd: '/tmp', envs: { A: 'b c' } }
    const { stdout } = await sandbox.commands.run('id -un; pwd; echo "$A"', options)
    assert.equal(stdout, 'root\n/tmp\nb c\n')
    await assert.rejects(sandbox.commands.run('true', { user: 'nobody-here' }), base.AuthenticationError)
  })

  test('a terminal', async () => {
    let screen = ''
    const onData = (data) => {
      screen += new TextDecoder().decode(data)
    }
    const terminal = await sandbox.pty.create({ cols: 90, rows: 25, onData })
    await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size\n'))
    await until(() => screen.includes('25 90'), 'the size')
    await sandbox.pty.resize(terminal.pid, { cols: 111, rows: 33 })
    await sandbox.pty.sendInput(terminal.pid, new TextEncoder().encode('stty size\n'))
    await until(() => screen.includes('33 111'), 'the new size')
    assert.ok(await sandbox.pty.kill(terminal.pid))
  })
})

describe('files', LIMIT, () => {
  let sandbox
  before(async () => {
    sandbox = await base.Sandbox.create('base', { timeoutMs: 300_000 })
  })
  after(() => sandbox.kill())

  test('every form both ways', async () => {
    const bytes = new Uint8Array(70_000).map((_, i) => i % 256)
    await sandbox.files.write('bytes', bytes.buffer)
    assert.deepEqual(await sandbox.files.read('bytes', { format: 'bytes' }), bytes)
    await sandbox.files.write('blob', new Blob(['bl', 'ob']))
    assert.equal(await (await sandbox.files.read('blob', { format: 'blob' })).text(), 'blob')
    await sandbox.files.write('stream', new Blob(['from a stream']).stream())
    let text = ''
    for await (const chunk of await sandbox.files.read('stream', { format: 'stream' })) {
      text += new TextDecoder().decode(chunk)
    }
    assert.equal(text, 'from a stream')
  })

  test('many in one call', async () => {
    const files = Array.from({ length: 10 }, (_, i) => ({ path: `many/${i}`, data: `${i}` }))
    assert.equal((await sandbox.files.write(files)).length, 10)
    assert.equal((await sandbox.files.list('many')).length, 10)
  })

  test('gzip', async () => {
    const text = 'z'.repeat(100_000)
    await sandbox.files.write('packed/below', 'old')
    await sandbox.files.write('packed/below', text, { gzip: true })
    assert.equal(await sandbox.files.read('packed/below', { gzip: true }), text)
  })

  test('lists to a depth', async () => {
    await sandbox.files.write('tree/a/b', 'x')
    const paths = async (depth) => (await sandbox.files.list('tree', { depth })).map((one) => one.path)
    assert.deepEqual(await paths(1), ['/home/user/tree/a'])
    assert.deepEqual(await paths(2), ['/home/user/tree/a', '/home/user/tree/a/b'])
  })

  test('missing ones', async () => {
    await assert.rejects(sandbox.files.read('nowhere'), base.NotFoundError)
    await assert.rejects(sandbox.files.list('nowhere'), base.NotFoundError)
    assert.equal(await sandbox.files.exists('nowhere'), false)
    assert.equal(await sandbox.files.makeDir('dir'), true)
    assert.equal(await sandbox.files.makeDir('dir'), false)
  })

  test('watching', async () => {
    const seen = []
    await sandbox.files.makeDir('watched')
    const handle = await sandbox.files.watchDir('watched', (event) => {
      seen.push(`${event.type} ${event.name}`)
    })
    await sandbox.files.write('watched/a', 'x')
    await sandbox.files.remove('watched/a')
    await until(() => seen.includes('create a') && seen.includes('remove a'), 'both events')
    await handle.stop()
  })

  test('signed links', async () => {
    await sandbox.files.write('signed', 'by link')
    const options = { useSignatureExpiration: 60 }
    const link = await sandbox.downloadUrl('signed', options)
    assert.equal(await (await fetch(link)).text(), 'by link')
    assert.equal((await fetch(link.replace('signed', 'other'))).status, 401)
    const form = new FormData()
    form.append('file', new Blob(['sent']))
    const target = await sandbox.uploadUrl('sent', options)
    assert.equal((await fetch(target, { method: 'POST', body: form })).status, 200)
    assert.equal(await sandbox.files.read('sent'), 'sent')
  })

  test('what an entry says', async () => {
    await sandbox.files.write('about/it', 'hello', { metadata: { kind: 'note' } })
    const info = await sandbox.files.getInfo('about/it')
    assert.deepEqual([info.name, info.size, info.owner, info.permissions], ['it', 5, 'user', '-rw-r--r--'])
    assert.deepEqual(info.metadata, { kind: 'note' })
    await sandbox.files.rename('about/it', 'about/that')
    assert.equal(await sandbox.files.exists('about/it'), false)
    await sandbox.files.remove('about')
    assert.equal(await sandbox.files.exists('about'), false)
  })

  test('watching below, with entries', async () => {
    const seen = []
    await sandbox.files.makeDir('deep/below')
    const note = (event) => seen.push(`${event.type} ${event.name} ${event.entry?.path ?? ''}`)
    const handle = await sandbox.files.watchDir('deep', note, { recursive: true, includeEntry: true })
    await sandbox.files.write('deep/below/a', 'x')
    await until(() => seen.includes('create below/a /home/user/deep/below/a'), 'the event below')
    await handle.stop()
  })

  test('git', async () => {
    await sandbox.git.configureUser('A Person', 'person@example.com')
    await sandbox.git.init('project')
    await sandbox.files.write('project/file', 'content')
    await sandbox.git.add('project')
    await sandbox.git.commit('project', 'the first')
    assert.equal((await sandbox.git.status('project')).isClean, true)
  })
})

describe('code', LIMIT, () => {
  let sandbox
  before(async () => {
    sandbox = await Sandbox.create({ timeoutMs: 300_000 })
  })
  after(() => sandbox.kill())

  test('state, streams, results', async () => {
    await sandbox.runCode('x = 40')
    const lines = []
    const execution = await sandbox.runCode("print('grün ✓')\nx + 2", {
      onStdout: (message) => {
        lines.push(message.line)
      },
    })
    assert.deepEqual([execution.text, lines], ['42', ['grün ✓\n']])
  })

  test('errors', async () => {
    const { error } = await sandbox.runCode('1/0')
    assert.equal(error.name, 'ZeroDivisionError')
    assert.match(error.traceback, /division by zero/)
  })

  test('contexts', async () => {
    const context = await sandbox.createCodeContext({ cwd: '/tmp' })
    const { text } = await sandbox.runCode('import os; os.getcwd()', { context })
    assert.equal(text, '/tmp')
    assert.ok((await sandbox.listCodeContexts()).some((one) => one.id === context.id))
    await sandbox.removeCodeContext(context)
    assert.ok(!(await sandbox.listCodeContexts()).some((one) => one.id === context.id))
  })

  test('a time limit interrupts', async () => {
    await assert.rejects(
      sandbox.runCode('import time; time.sleep(30)', { timeoutMs: 1000 }),
      base.TimeoutError,
    )
    assert.equal((await sandbox.runCode('x', { timeoutMs: 20_000 })).text, '40')
  })
})

describe('lives', LIMIT, () => {
  test('info, timeout, list, kill', async () => {
    const metadata = { 'user name': 'a b', q: 'c&d=é' }
    const sandbox = await base.Sandbox.create('base', { timeoutMs: 60_000, metadata })
    await sandbox.setTimeout(200_000)
    const info = await sandbox.getInfo()
    assert.ok(info.endAt - new Date() > 190_000)
    const found = await base.Sandbox.list({ query: { metadata } }).nextItems()
    assert.deepEqual(found.map((one) => one.sandboxId), [sandbox.sandboxId])
    assert.equal(await sandbox.kill(), true)
    assert.equal(await base.Sandbox.kill(sandbox.sandboxId), false)
    assert.equal(await sandbox.isRunning(), false)
    await assert.rejects(base.Sandbox.connect(sandbox.sandboxId), base.NotFoundError)
  })

  test('killed during a command', async () => {
    const sandbox = await base.Sandbox.create('base', { timeoutMs: 60_000 })
    const running = sandbox.commands.run('sleep 30')
    setTimeout(() => sandbox.kill(), 1000)
    await assert.rejects(running, (error) => {
      assert.ok(error instanceof base.TimeoutError, String(error))
      assert.match(error.message, /killed or reached its end of life/)
      return true
    })
  })

  test('paused with its files, and woken', async () => {
    const sandbox = await base.Sandbox.create('base', { timeoutMs: 60_000 })
    after(() => sandbox.kill())
    await sandbox.files.write('/home/user/kept', 'kept')
    // Memory is kept where the server can, and refused by name where it cannot.
    try {
      assert.equal(await sandbox.pause(), true)
      await sandbox.connect()
    } catch (refused) {
      assert.match(String(refused), /501.*memory/)
    }
    assert.equal(await sandbox.pause({ keepMemory: false }), true)
    assert.equal(await sandbox.pause({ keepMemory: false }), false)
    assert.equal(await sandbox.isRunning(), false)
    assert.equal((await sandbox.getInfo()).state, 'paused')
    const same = await base.Sandbox.connect(sandbox.sandboxId)
    assert.equal(await same.files.read('/home/user/kept'), 'kept')
    assert.equal(await sandbox.isRunning(), true)
  })

  test('refusals have their classes', async () => {
    const apiKey = `e2b_${'0'.repeat(40)}`
    await assert.rejects(base.Sandbox.create('base', { apiKey }), base.AuthenticationError)
    await assert.rejects(base.Sandbox.create('no-such-template'), /no-such-template/)
    await assert.rejects(base.Sandbox.create('base', { allowInternetAccess: false }), /501/)
  })
})

describe('templates', LIMIT, () => {
  const name = `js-${Date.now()}`
  after(async () => {
    const headers = { 'X-API-Key': process.env.E2B_API_KEY }
    await fetch(`${process.env.E2B_API_URL}/templates/${name}`, { method: 'DELETE', headers })
  })

  test('steps, uploads and the start command', async () => {
    const dir = await mkdtemp(join(tmpdir(), 'warren-'))
    await writeFile(join(dir, 'a.txt'), 'from js\n')
    const template = base
      .Template({ fileContextPath: dir })
      .fromTemplate('base')
      .copy('a.txt', 'copied/')
      .setEnvs({ A: '1' })
      .runCmd(`echo $A > a; echo ${name}`)
      .setStartCmd('python3 -m http.server 8123', base.waitForPort(8123))
    const seen = []
    const built = await base.Template.build(template, name, { onBuildLogs: (entry) => seen.push(entry.message) })
    assert.deepEqual(built.tags, ['default'])
    assert.ok(seen.some((line) => line.includes(`[stdout]: ${name}`)), seen.join('\n'))
    const sandbox = await base.Sandbox.create(name)
    try {
      const shown = await sandbox.commands.run('cat copied/a.txt a; curl -s localhost:8123/a')
      assert.equal(shown.stdout, 'from js\n1\n1\n')
    } finally {
      await sandbox.kill()
    }
    await rm(dir, { recursive: true })
  })

  test('a failure ends in the line of its step, and names exist or not', async () => {
    const template = base.Template().fromTemplate('base').runCmd('true').runCmd('exit 4')
    await assert.rejects(base.Template.build(template, `${name}:bad`), (error) => {
      assert.match(error.message, /failed to run command 'exit 4': exit status 4/)
      return error.constructor.name === 'BuildError'
    })
    assert.equal(await base.Template.exists(name), true)
    assert.equal(await base.Template.exists(`${name}-none`), false)
  })
})
