// Templates built by the JavaScript SDK's builder; its Python twin is
// tests/python/test_templates.py. Images come from a real registry on loopback,
// which a script of the Python suites starts and fills.
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { chmod, mkdir, mkdtemp, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { after, afterEach, before, beforeEach, describe, test } from 'node:test'
import { BuildError, Sandbox, Template, waitForPort } from 'e2b'

const LIMIT = { timeout: 120_000 }
const API = { url: process.env.E2B_API_URL, headers: { 'X-API-Key': process.env.E2B_API_KEY } }

let name
let sandboxes

/** Builds, and gives what the log says. */
async function lines(template, called = name, options = {}) {
  const seen = []
  await Template.build(template, called, { ...options, onBuildLogs: (entry) => seen.push(entry.message) })
  return seen
}

async function create(template = name) {
  const sandbox = await Sandbox.create(template, { timeoutMs: 120_000 })
  sandboxes.push(sandbox)
  return sandbox
}

async function output(sandbox, command) {
  return (await sandbox.commands.run(command)).stdout.trim()
}

const remove = (template) => fetch(`${API.url}/templates/${template}`, { method: 'DELETE', headers: API.headers })

beforeEach(() => {
  name = `test-js-${crypto.randomUUID().slice(0, 12)}`
  sandboxes = []
})
afterEach(async () => {
  for (const sandbox of sandboxes) await sandbox.kill()
  assert.ok([204, 404].includes((await remove(name)).status))
})

describe('the builder of templates', LIMIT, () => {
  let folder
  before(async () => {
    folder = await mkdtemp(join(tmpdir(), 'warren-templates-'))
    await mkdir(join(folder, 'folder', 'sub'), { recursive: true })
    await writeFile(join(folder, 'folder', 'one.txt'), 'one\n')
    await writeFile(join(folder, 'folder', 'run.sh'), '#!/bin/sh\necho ran\n')
    await chmod(join(folder, 'folder', 'run.sh'), 0o755)
    await writeFile(join(folder, 'folder', 'sub', 'deep.txt'), 'deep\n')
    await symlink('one.txt', join(folder, 'folder', 'link'))
  })
  after(() => rm(folder, { recursive: true, force: true }))

  // Row: T2, T4.
  test('each step does what it says, on a template', async () => {
    const template = Template()
      .fromTemplate('base')
      .setEnvs({ A: '1', B: 'b $A' })
      .setWorkdir('/app/deep')
      .runCmd('pwd > here; echo $B > b; whoami > /home/user/who')
      .runCmd('whoami > /opt/root', { user: 'root' })
      .setUser('bob')
    await lines(template)
    const sandbox = await create()
    assert.equal(await output(sandbox, 'whoami; pwd; echo $A-$B'), 'bob\n/app/deep\n1-b 1')
    assert.equal(await output(sandbox, 'cat here b /home/user/who /opt/root'), '/app/deep\nb 1\nuser\nroot')
    await assert.rejects(lines(Template().fromTemplate('none-such')), (error) => {
      assert.ok(error instanceof BuildError)
      assert.match(error.message, /template 'none-such' not found/)
      return true
    })
  })

  // Row: T2.
  test('the base image is the base template', async () => {
    const log = await lines(Template().fromBaseImage().runCmd('echo from the base'))
    assert.ok(log.some((line) => line.includes('[stdout]: from the base')) || log.some((line) => line.startsWith('CACHED')))
  })

  // Row: T3.
  test('files are copied with patterns, links, owners and modes, and once', async () => {
    const template = (forceUpload) =>
      Template({ fileContextPath: folder })
        .fromTemplate('base')
        .copy('folder/*', 'dest', { forceUpload })
        .copy('folder/one.txt', '/opt/one', { user: 'root', mode: 0o600 })
        .copy('folder/link', '/opt/', { resolveSymlinks: true })
    await lines(template(true))
    const sandbox = await create()
    const seen = await output(sandbox, 'cd dest; cat one.txt sub/deep.txt; ./run.sh; readlink link; stat -c %U .')
    assert.equal(seen, 'one\ndeep\nran\none.txt\nuser')
    assert.equal(await output(sandbox, "stat -c '%U %a' /opt/one; test ! -L /opt/link && cat /opt/link"), 'root 600\none')
    const again = await lines(template())
    assert.ok(again.some((line) => line.includes('already cached')), 'nothing is uploaded twice')
    assert.equal(again.filter((line) => line.startsWith('CACHED')).length, 3)
  })

  // Row: T5.
  test('the start command runs in every new sandbox', async () => {
    const site = Template().fromTemplate('base').setWorkdir('/srv/js').runCmd('echo served > index.html')
    await lines(site.setStartCmd('python3 -m http.server 8080', waitForPort(8080)))
    assert.equal(await output(await create(), 'curl -s localhost:8080'), 'served')
  })

  // Row: T6.
  test('the second build is cached up to the step that skips', async () => {
    const mark = crypto.randomUUID()
    const template = () => Template().fromTemplate('base').runCmd(`echo ${mark}`).skipCache().runCmd('echo again')
    const cached = (log) => log.filter((line) => /RUN/.test(line)).map((line) => line.startsWith('CACHED'))
    assert.deepEqual(cached(await lines(template())), [false, false])
    assert.deepEqual(cached(await lines(template())), [true, false])
  })

  // Row: T7.
  test('a build in the background is building, then ready', async () => {
    const template = Template().fromTemplate('base').runCmd(`sleep 1; echo ${crypto.randomUUID()}`)
    const info = await Template.buildInBackground(template, name)
    let { status } = await Template.getBuildStatus(info)
    assert.equal(status, 'building')
    const end = Date.now() + 60_000
    while (status === 'building' && Date.now() < end) {
      await new Promise((resolve) => setTimeout(resolve, 100))
      status = (await Template.getBuildStatus(info)).status
    }
    assert.equal(status, 'ready')
  })

  // Row: T8.
  test('a step that fails is told with its line', async () => {
    const template = Template().fromTemplate('base').runCmd('true').runCmd('false')
    await assert.rejects(lines(template), (error) => {
      assert.ok(error instanceof BuildError)
      assert.match(error.message, /failed to run command 'false': exit status 1/)
      assert.match(error.stack, /templates\.test\.mjs/)
      return true
    })
  })

  // Row: T9.
  test('resources are those of the build', async () => {
    await lines(Template().fromTemplate('base'), name, { cpuCount: 1, memoryMB: 512 })
    const info = await (await create()).getInfo()
    assert.deepEqual([info.cpuCount, info.memoryMB], [1, 512])
    await assert.rejects(lines(Template().fromTemplate('base'), name, { cpuCount: 3 }), /cpuCount/)
  })

  // Row: T11, T12, T13.
  test('names and tags lead to builds', async () => {
    assert.equal(await Template.exists(name), false)
    const first = await Template.build(Template().fromTemplate('base').setEnvs({ V: '1' }), `${name}:v1`, { tags: ['stable'] })
    assert.deepEqual(first.tags, ['v1', 'stable'])
    await lines(Template().fromTemplate('base').setEnvs({ V: '2' }))
    assert.equal(await Template.exists(name), true)
    await Template.assignTags(`${name}:v1`, 'prod')
    for (const [tag, version] of [[':v1', '1'], [':stable', '1'], [':prod', '1'], ['', '2']]) {
      assert.equal(await output(await create(name + tag), 'echo $V'), version, tag)
    }
    const tags = (await Template.getTags(name)).map((one) => one.tag)
    assert.deepEqual(tags.sort(), ['default', 'prod', 'stable', 'v1'])
    await Template.removeTags(name, 'prod')
    await assert.rejects(create(`${name}:prod`), /tag 'prod' does not exist/)
  })

  // Row: T14.
  test('a Dockerfile is followed', async () => {
    const dockerfile = 'FROM debian:stable\nENV GREETING=hello\nWORKDIR /srv/app\nCOPY folder/one.txt .\nRUN echo $GREETING > said\n'
    await lines(Template({ fileContextPath: folder }).fromDockerfile(dockerfile))
    assert.equal(await output(await create(), 'cat /srv/app/one.txt /srv/app/said; pwd'), 'one\nhello\n/srv/app')
  })

  // Row: T17.
  test('a template in use is not deleted', async () => {
    await lines(Template().fromTemplate('base'))
    const sandbox = await create()
    const refused = await remove(name)
    assert.equal(refused.status, 400)
    assert.match((await refused.json()).message, /there are running sandboxes using it/)
    await sandbox.kill()
    assert.equal((await remove(name)).status, 204)
    assert.equal(await Template.exists(name), false)
  })
})

// Says why nothing runs where there is no registry to talk to.
const script = process.env.WARREN_TEST_REGISTRY
const skip = script ? false : 'docker-registry is not installed'

describe('images of a registry', { ...LIMIT, skip }, () => {
  let registry, images
  before(async () => {
    const [program, ...rest] = JSON.parse(script)
    registry = spawn(program, rest, { stdio: ['pipe', 'pipe', 'inherit'] })
    for await (const line of createInterface({ input: registry.stdout })) {
      images = JSON.parse(line)
      break
    }
    assert.ok(images, 'the registry says what it holds')
  })
  after(async () => {
    const gone = new Promise((resolve) => registry.once('exit', resolve))
    registry.stdin.end()
    await gone
  })

  // Row: T1.
  test('an image becomes a template', async () => {
    const log = await lines(Template().fromImage(images.open).runCmd('id > /home/user/who'))
    assert.ok(log.some((line) => line.includes('[base] unpacked') || line.startsWith('CACHED [base]')), log.join('\n'))
    const sandbox = await create()
    assert.match(await output(sandbox, 'cat /home/user/who; cat /etc/mark'), /^uid=1001\(user\) .*\nof the registry$/)
  })

  // Row: T10.
  test('a registry with a password', async () => {
    await assert.rejects(lines(Template().fromImage(images.guarded)), /does not give the image .* without credentials/)
    const wrong = { username: 'alice', password: 'wrong' }
    await assert.rejects(lines(Template().fromImage(images.guarded, wrong)), /with these credentials/)
    await lines(Template().fromImage(images.guarded, { username: 'alice', password: images.password }).runCmd('id'))
    const folder = await mkdtemp(join(tmpdir(), 'warren-key-'))
    // The key is the password, letter by letter: a file is sent as it is.
    await writeFile(join(folder, 'key.json'), images.key)
    const google = Template({ fileContextPath: folder }).fromGCPRegistry(images.guarded, { serviceAccountJSON: 'key.json' })
    assert.ok((await lines(google)).some((line) => line.startsWith('CACHED [base]')))
    await rm(folder, { recursive: true })
  })
})
