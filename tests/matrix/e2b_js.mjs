// The quick start with the `e2b` package.
import { Sandbox } from 'e2b'
import { quickStart } from './steps.mjs'

await quickStart(Sandbox)
