// The quick start of the client matrix in JavaScript: each step prints one JSON
// object a line, `{"step", "ok", "detail"}`, and a failed one does not stop the rest.
import assert from 'node:assert/strict'

async function step(name, act) {
  try {
    await act()
    console.log(JSON.stringify({ step: name, ok: true }))
  } catch (error) {
    const detail = String(error?.stack ?? error).split('\n').slice(0, 4).join(' ')
    console.log(JSON.stringify({ step: name, ok: false, detail }))
  }
}

/** Runs the quick start with one package's `Sandbox`; `more` are its own steps. */
export async function quickStart(Sandbox, more = {}) {
  let sandbox
  await step('create', async () => {
    sandbox = await Sandbox.create({
      timeoutMs: 60_000,
      metadata: { run: 'matrix' },
      envs: { GREETING: 'hello' },
    })
    assert.ok(sandbox.sandboxId)
  })
  await step('info', async () => {
    const info = await sandbox.getInfo()
    assert.equal(info.sandboxId, sandbox.sandboxId)
    assert.deepEqual(info.metadata, { run: 'matrix' })
    assert.ok(await sandbox.isRunning())
  })
  await step('connect', async () => {
    const again = await Sandbox.connect(sandbox.sandboxId)
    assert.equal((await again.commands.run('echo again')).stdout, 'again\n')
  })
  await step('command', async () => {
    let seen = ''
    const onStdout = (data) => {
      seen += data
    }
    const result = await sandbox.commands.run('echo $GREETING; echo oops >&2', { onStdout })
    assert.deepEqual([result.stdout, result.stderr, result.exitCode], ['hello\n', 'oops\n', 0])
    assert.equal(seen, 'hello\n')
    const background = await sandbox.commands.run('sleep 30', { background: true })
    const pids = (await sandbox.commands.list()).map((process) => process.pid)
    assert.ok(pids.includes(background.pid))
    assert.ok(await background.kill())
  })
  await step('files', async () => {
    await sandbox.files.write('dir/über.txt', 'content ✓')
    assert.equal(await sandbox.files.read('dir/über.txt'), 'content ✓')
    assert.ok(await sandbox.files.exists('dir'))
    assert.deepEqual((await sandbox.files.list('dir')).map((entry) => entry.name), ['über.txt'])
    await sandbox.files.rename('dir/über.txt', 'dir/b.txt')
    const bytes = await sandbox.files.read('dir/b.txt', { format: 'bytes' })
    assert.equal(new TextDecoder().decode(bytes), 'content ✓')
    await sandbox.files.remove('dir')
    assert.ok(!(await sandbox.files.exists('dir')))
  })
  for (const [name, act] of Object.entries(more)) await step(name, () => act(sandbox))
  await step('list', async () => {
    const found = []
    const pages = Sandbox.list()
    while (pages.hasNext) found.push(...(await pages.nextItems()).map((one) => one.sandboxId))
    assert.ok(found.includes(sandbox.sandboxId))
  })
  await step('kill', async () => {
    assert.ok(await sandbox.kill())
    assert.ok(!(await sandbox.isRunning()))
  })
}
