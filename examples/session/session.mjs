// The session API by `fetch`: for browsers, Node.js 20, Deno, Bun. No packages.
//
//     import { SandboxSession } from './session.mjs'
//     const session = new SandboxSession(user.login, { url: 'http://localhost:8000', apiKey })
//     const { output } = await session.execute('print(6 * 7)')

/** An answer with a status of 400 or more. */
export class SessionError extends Error {
  constructor(status, detail) {
    super(`${status}: ${detail}`)
    this.name = 'SessionError'
    this.status = status
    this.detail = detail
  }
}

/** One session of your application: at most one sandbox, made on first use. */
export class SandboxSession {
  #base
  #headers
  #fetch

  constructor(sessionId, { url = 'http://localhost:8000', apiKey, fetch = globalThis.fetch } = {}) {
    this.sessionId = sessionId
    this.#base = `${url.replace(/\/+$/, '')}/api/v1/session/${encodeURIComponent(sessionId)}/sandbox`
    this.#headers = apiKey ? { 'X-API-Key': apiKey } : {}
    // A browser's fetch insists on being called as a function of the window.
    this.#fetch = (...given) => fetch(...given)
  }

  async start({ sandboxType } = {}) {
    return (await this.#post('start', sandboxType ? { sandbox_type: sandboxType } : {})).json()
  }

  async stop() {
    await this.#call('stop', { method: 'POST' })
  }

  async status() {
    return (await this.#call('status')).json()
  }

  async execute(code, { signal } = {}) {
    return (await this.#post('execute', { code }, signal)).json()
  }

  async install(...packages) {
    return (await this.#post('install', { packages })).json()
  }

  async upload(file, name, directory) {
    const form = new FormData()
    form.append('file', file, name)
    const query = directory === undefined ? '' : `?${new URLSearchParams({ path: directory })}`
    return (await (await this.#call(`upload${query}`, { method: 'POST', body: form })).json()).path
  }

  async download(path) {
    return (await this.#call(`download?${new URLSearchParams({ path })}`)).blob()
  }

  async files(path = '/') {
    return (await this.#call(`files?${new URLSearchParams({ path })}`)).json()
  }

  async artifact(url) {
    return (await this.#checked(await this.#fetch(url, { headers: this.#headers }))).blob()
  }

  #post(call, body, signal) {
    const headers = { 'Content-Type': 'application/json' }
    return this.#call(call, { method: 'POST', body: JSON.stringify(body), headers, signal })
  }

  async #call(call, { headers, ...options } = {}) {
    const request = { ...options, headers: { ...this.#headers, ...headers } }
    return this.#checked(await this.#fetch(`${this.#base}/${call}`, request))
  }

  async #checked(response) {
    if (response.ok) return response
    const text = await response.text()
    let detail = text
    try {
      detail = JSON.parse(text).detail ?? text
    } catch {
      // A proxy in between answers in its own words.
    }
    throw new SessionError(response.status, detail)
  }
}
