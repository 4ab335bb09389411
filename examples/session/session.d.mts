// Types of the session API (api/session.yaml) and of `session.mjs`.

/** What a session's sandbox is made from. */
export type SandboxType = 'code_interpreter' | 'custom'

/** A session's sandbox. */
export interface SandboxInfo {
  /** Another one after each start. */
  sandbox_id: string
  session_id: string
  sandbox_type: SandboxType
  status: 'starting' | 'running' | 'stopped' | 'error'
  /** ISO 8601 with microseconds and offset. */
  created_at: string
  last_activity: string
}

/** What an execution or installation came to. */
export interface ExecutionResult {
  success: boolean
  /** Standard output. */
  output: string
  /** The exception, else standard error. */
  error: string | null
  execution_time_ms: number
  /** URLs of pictures and files; fetch them with `artifact`. */
  artifacts: string[]
}

/** One entry of a directory. */
export interface FileInfo {
  /** Full path. */
  path: string
  size: number
  is_directory: boolean
}

/** An answer with a status of 400 or more. */
export declare class SessionError extends Error {
  readonly status: number
  /** What was wrong, naming the field or path. */
  readonly detail: string
}

export interface SessionOptions {
  /** Where the server is; `http://localhost:8000` by default. */
  url?: string
  /** Not needed where keys are switched off. */
  apiKey?: string
  /** Stands in for the global `fetch`. */
  fetch?: typeof fetch
}

/** One session of your application: at most one sandbox, made on first use. */
export declare class SandboxSession {
  constructor(sessionId: string, options?: SessionOptions)
  readonly sessionId: string
  start(options?: { sandboxType?: SandboxType }): Promise<SandboxInfo>
  stop(): Promise<void>
  status(): Promise<SandboxInfo | null>
  /** Code that raises is no error here: look at `success`. */
  execute(code: string, options?: { signal?: AbortSignal }): Promise<ExecutionResult>
  install(...packages: string[]): Promise<ExecutionResult>
  /** Answers the file's path; `directory` is `/home/user/upload` by default. */
  upload(file: Blob, name: string, directory?: string): Promise<string>
  download(path: string): Promise<Blob>
  files(path?: string): Promise<FileInfo[]>
  /** Fetches one of `ExecutionResult.artifacts`. */
  artifact(url: string): Promise<Blob>
}
