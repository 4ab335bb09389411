// Held by the compiler alone: the types of examples/session fit their use.
import { SandboxSession, SessionError, type ExecutionResult, type FileInfo } from './session.mjs'

export async function use(): Promise<[string, number, boolean]> {
  const session = new SandboxSession('someone', { url: 'http://localhost:8000', apiKey: 'e2b_…' })
  const info = await session.start({ sandboxType: 'custom' })
  const kind: 'code_interpreter' | 'custom' = info.sandbox_type
  const result: ExecutionResult = await session.execute('1', { signal: AbortSignal.timeout(1000) })
  const files: FileInfo[] = await session.files()
  const status = await session.status()
  // @ts-expect-error There may be none.
  status.sandbox_id
  // @ts-expect-error Packages are text.
  await session.install(1)
  const error: unknown = new Error()
  const code = error instanceof SessionError ? error.status : 0
  return [result.error ?? kind, code + files.length, status !== null]
}
