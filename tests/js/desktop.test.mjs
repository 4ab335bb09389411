// The template `desktop` through the unmodified desktop SDK for JavaScript. Built on demand: where it is not, this says
// that it is skipped; `cargo xtask desktop` builds it and runs this.
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Sandbox } from '@e2b/desktop'

const URL_OF_IT = `${process.env.E2B_API_URL}/default-templates/desktop`
const answer = await fetch(URL_OF_IT, { headers: { 'X-API-Key': process.env.E2B_API_KEY } })
const built = answer.ok && (await answer.json()).status === 'ready'
const skip = built ? false : 'the template desktop is not built: `cargo xtask desktop` builds it'

async function until(condition, what, seconds = 60) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end; ) {
    const value = await condition()
    if (value) return value
    await new Promise((resolve) => setTimeout(resolve, 100))
  }
  assert.fail(`not within ${seconds} s: ${what}`)
}

describe('a desktop', { skip, timeout: 180_000 }, () => {
  let desktop
  before(async () => {
    desktop = await Sandbox.create({ resolution: [1024, 768], timeoutMs: 600_000 })
  })
  after(() => desktop?.kill())

  const said = async (command) => (await desktop.commands.run(`${command} || true`)).stdout.trim()

  test('its screen', async () => {
    assert.deepEqual(await desktop.getScreenSize(), { width: 1024, height: 768 })
    const picture = Buffer.from(await desktop.screenshot())
    assert.deepEqual([picture.readUInt32BE(16), picture.readUInt32BE(20)], [1024, 768])
    assert.equal((await desktop.screenshot('blob')).size > 1000, true)
  })

  test('its mouse', async () => {
    await desktop.moveMouse(321, 234)
    assert.deepEqual(await desktop.getCursorPosition(), { x: 321, y: 234 })
    await desktop.leftClick(400, 300)
    assert.deepEqual(await desktop.getCursorPosition(), { x: 400, y: 300 })
    await desktop.drag([100, 400], [140, 420])
    await desktop.scroll('down', 2)
  })

  test('programs, windows and keys', async () => {
    await desktop.launch('xfce4-terminal')
    const window = await until(async () => {
      const windows = (await said('xdotool search --onlyvisible --class xfce4-terminal')).split('\n')
      const current = await said('xdotool getwindowfocus')
      return windows.includes(current) && current
    }, 'a terminal that has the keyboard')
    assert.equal(await desktop.getCurrentWindowId(), window)
    assert.ok((await desktop.getApplicationWindows('xfce4-terminal')).includes(window))
    assert.match(await desktop.getWindowTitle(window), /Terminal/)
    await desktop.write(`echo "it's typed" > typed`, { chunkSize: 10, delayInMs: 10 })
    await desktop.press('enter')
    await until(() => desktop.files.exists('typed'), 'what was typed')
    assert.equal(await desktop.files.read('typed'), "it's typed\n")
  })

  test('its stream', async () => {
    await desktop.stream.start({ requireAuth: true })
    await assert.rejects(desktop.stream.start(), /already running/)
    const url = new URL(desktop.stream.getUrl({ authKey: desktop.stream.getAuthKey() }))
    assert.ok(url.hostname.startsWith(`6080-${desktop.sandboxId}.`))
    assert.equal(url.searchParams.get('password'), desktop.stream.getAuthKey())
    const headers = { 'E2b-Sandbox-Id': desktop.sandboxId, 'E2b-Sandbox-Port': '6080' }
    const page = await fetch(`${process.env.E2B_API_URL}${url.pathname}`, { headers })
    assert.match(await page.text(), /noVNC/)
    await desktop.stream.stop()
    assert.equal(await said('pgrep -x x11vnc'), '')
  })
})
