// The quick start with `@e2b/code-interpreter`: all of `e2b`'s, and code.
import assert from 'node:assert/strict'
import { Sandbox } from '@e2b/code-interpreter'
import { quickStart } from './steps.mjs'

await quickStart(Sandbox, {
  code: async (sandbox) => {
    assert.equal((await sandbox.runCode('x = 20')).error, undefined)
    const execution = await sandbox.runCode("print('out')\nx + 22")
    assert.deepEqual([execution.text, execution.logs.stdout], ['42', ['out\n']])
    assert.equal((await sandbox.runCode('1/0')).error.name, 'ZeroDivisionError')
  },
  chart: async (sandbox) => {
    const source = "import matplotlib.pyplot as plt\nplt.plot([1, 2, 4])\nplt.title('t')\nplt.show()"
    const { results } = await sandbox.runCode(source)
    const pictures = results.filter((result) => result.png)
    assert.equal(pictures.length, 1)
    assert.equal(Buffer.from(pictures[0].png, 'base64').subarray(1, 4).toString(), 'PNG')
    assert.equal(pictures[0].chart.title, 't')
  },
})
