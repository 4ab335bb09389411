// Pauses, forks and snapshots through the JavaScript client: what keeps memory, and what files.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Sandbox } from 'e2b'

const LIMIT = { timeout: 120_000 }
const BOOT_ID = '/proc/sys/kernel/random/boot_id'

async function until(condition, what, ms = 30_000) {
  const end = Date.now() + ms
  while (Date.now() < end) {
    if (await condition()) return
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  assert.fail(`not within ${ms} ms: ${what}`)
}

const output = async (sandbox, line) => (await sandbox.commands.run(line)).stdout.trim()
const bootId = (sandbox) => output(sandbox, `cat ${BOOT_ID}`)
const leaveSleeper = (sandbox) => sandbox.commands.run('sleep 4321 > /dev/null 2>&1 & echo $! > /tmp/sleeper')
const hasSleeper = async (sandbox) =>
  (await output(sandbox, 'grep -qs sleep /proc/$(cat /tmp/sleeper)/comm && echo yes || echo no')) === 'yes'
const left = async (sandbox) => (await sandbox.getInfo()).endAt - Date.now()

// What needs memory is skipped, and counted, where the server says that it cannot keep it.
let noMemory = false
before(async () => {
  const sandbox = await Sandbox.create('base', { timeoutMs: 60_000 })
  try {
    await sandbox.pause()
  } catch (refused) {
    if (!/501/.test(String(refused))) throw refused
    noMemory = `no memory: ${refused}`
  } finally {
    await sandbox.kill()
  }
})

describe('pauses', LIMIT, () => {
  let sandbox
  before(async () => {
    sandbox = await Sandbox.create('base', { timeoutMs: 300_000 })
    await leaveSleeper(sandbox)
  })
  after(() => sandbox.kill())

  // Row: P1, P2.
  test('with memory', async (t) => {
    if (noMemory) return t.skip(noMemory)
    const boot = await bootId(sandbox)
    assert.equal(await sandbox.pause(), true)
    assert.equal(await sandbox.pause(), false)
    assert.equal((await sandbox.getInfo()).state, 'paused')
    const same = await Sandbox.connect(sandbox.sandboxId, { timeoutMs: 90_000 })
    assert.equal(same.sandboxId, sandbox.sandboxId)
    assert.equal(await bootId(sandbox), boot)
    assert.equal(await hasSleeper(sandbox), true)
    assert.ok((await left(sandbox)) <= 90_000)
  })

  // Row: P8.
  test('a connect extends and never shortens', async () => {
    const { endAt } = await sandbox.getInfo()
    await sandbox.connect({ timeoutMs: 1_000 })
    assert.deepEqual((await sandbox.getInfo()).endAt, endAt)
    await sandbox.connect({ timeoutMs: 600_000 })
    assert.ok((await sandbox.getInfo()).endAt > endAt)
  })

  // Row: P4.
  test('a reboot although memory was kept', async (t) => {
    if (noMemory) return t.skip(noMemory)
    const boot = await bootId(sandbox)
    await sandbox.pause()
    await sandbox.connect({ onResume: 'reboot' })
    assert.notEqual(await bootId(sandbox), boot)
    assert.equal(await hasSleeper(sandbox), false)
  })

  // Row: P3.
  test('of files alone', async () => {
    await sandbox.files.write('/home/user/kept', 'kept')
    const boot = await bootId(sandbox)
    assert.equal(await sandbox.pause({ keepMemory: false }), true)
    await sandbox.connect()
    assert.notEqual(await bootId(sandbox), boot)
    assert.equal(await sandbox.files.read('/home/user/kept'), 'kept')
  })

  // Row: P9.
  test('what is not there', async () => {
    await assert.rejects(Sandbox.connect('nope'), /not found|doesn't exist/)
  })
})

describe('timeouts and traffic', LIMIT, () => {
  // Row: P5, P7.
  test('a timeout keeps memory, a request wakes', async (t) => {
    if (noMemory) return t.skip(noMemory)
    const lifecycle = { onTimeout: 'pause', autoResume: true }
    const sandbox = await Sandbox.create('base', { timeoutMs: 60_000, lifecycle })
    t.after(() => sandbox.kill())
    const boot = await bootId(sandbox)
    await sandbox.commands.run('python3 -m http.server 8000', { background: true })
    const headers = { 'E2b-Sandbox-Id': sandbox.sandboxId, 'E2b-Sandbox-Port': '8000' }
    const status = async () => (await fetch(process.env.E2B_API_URL, { headers })).status
    await until(async () => (await status()) === 200, 'it serves')
    await sandbox.setTimeout(0)
    await until(async () => (await sandbox.getInfo()).state === 'paused', 'it is paused')
    assert.equal(await status(), 200)
    assert.equal(await bootId(sandbox), boot)
  })

  // Row: P6.
  test('a timeout can keep files alone', async (t) => {
    const lifecycle = { onTimeout: { action: 'pause', keepMemory: false } }
    const sandbox = await Sandbox.create('base', { timeoutMs: 60_000, lifecycle })
    t.after(() => sandbox.kill())
    const boot = await bootId(sandbox)
    await sandbox.setTimeout(0)
    await until(async () => (await sandbox.getInfo()).state === 'paused', 'it is paused')
    await sandbox.connect()
    assert.notEqual(await bootId(sandbox), boot)
  })
})

describe('forks and snapshots', LIMIT, () => {
  // Row: F1, F2.
  test('forks', async (t) => {
    if (noMemory) return t.skip(noMemory)
    const sandbox = await Sandbox.create('base', { timeoutMs: 120_000 })
    t.after(() => sandbox.kill())
    await sandbox.files.write('/home/user/shared', 'source')
    await leaveSleeper(sandbox)
    const forks = await sandbox.fork({ count: 2, timeoutMs: 60_000 })
    forks.push(...(await Sandbox.fork(sandbox.sandboxId, { timeoutMs: 60_000 })))
    t.after(() => Promise.all(forks.map((fork) => fork.kill?.())))
    assert.equal(new Set([sandbox, ...forks].map((one) => one.sandboxId)).size, 4)
    for (const [number, fork] of forks.entries()) {
      assert.equal(await hasSleeper(fork), true)
      assert.equal(await fork.files.read('/home/user/shared'), 'source')
      await fork.files.write('/home/user/shared', `${number}`)
    }
    assert.equal(await sandbox.files.read('/home/user/shared'), 'source')
    await assert.rejects(sandbox.fork({ count: 0 }))
    await sandbox.pause({ keepMemory: false })
    await assert.rejects(sandbox.fork(), /is paused and cannot be forked/)
    await sandbox.kill()
    await assert.rejects(sandbox.fork())
  })

  // Row: S1, S2, S3.
  test('snapshots', async (t) => {
    if (noMemory) return t.skip(noMemory)
    const sandbox = await Sandbox.create('base', { timeoutMs: 120_000 })
    t.after(() => sandbox.kill())
    await sandbox.files.write('/home/user/kept', 'then')
    await leaveSleeper(sandbox)
    const name = `js-rows-${sandbox.sandboxId}`
    const taken = await sandbox.createSnapshot({ name })
    assert.ok(taken.snapshotId.includes(name))
    await sandbox.files.write('/home/user/kept', 'now')
    const child = await Sandbox.create(taken.snapshotId, { timeoutMs: 60_000 })
    t.after(() => child.kill())
    assert.equal(await child.files.read('/home/user/kept'), 'then')
    assert.equal(await hasSleeper(child), true)
    const found = async (query) => (await Sandbox.listSnapshots(query).nextItems()).map((one) => one.snapshotId)
    assert.deepEqual(await found({ sandboxId: sandbox.sandboxId }), [taken.snapshotId])
    assert.deepEqual(await found({ name }), [taken.snapshotId])
    assert.deepEqual(await found({ name: 'nobody-named-this' }), [])
    await assert.rejects(Sandbox.deleteSnapshot(taken.snapshotId), /using it/)
    await child.kill()
    await until(async () => Sandbox.deleteSnapshot(taken.snapshotId).catch(() => false), 'its child is gone')
    assert.equal(await Sandbox.deleteSnapshot(taken.snapshotId), false)
  })
})
