// A first look at a sandbox: a command, a file, Python with state, a chart.
//
//     npm install @e2b/code-interpreter
//     export E2B_API_URL=… E2B_SANDBOX_URL=… E2B_API_KEY=…    # `warren up` prints them
//     node quickstart.mjs [where-to-put-the-chart.png]

import { writeFile } from 'node:fs/promises'
import { resolve } from 'node:path'
import { Sandbox } from '@e2b/code-interpreter'

const CHART = `
import matplotlib.pyplot as plt
years = [str(2020 + n) for n in range(len(visitors))]
plt.figure(figsize=(6, 3))
plt.plot(years, visitors, label="museum")
plt.title("Visitors a year")
plt.xlabel("year")
plt.ylabel("thousands")
plt.show()
`

const chartPath = resolve(process.argv[2] ?? 'chart.png')

const start = performance.now()
const sandbox = await Sandbox.create({ timeoutMs: 120_000 })
try {
  console.log(`sandbox ${sandbox.sandboxId}, ready after ${Math.round(performance.now() - start)} ms`)

  const result = await sandbox.commands.run('echo Hello from $(uname -n), I am $(whoami)')
  console.log(`command: ${result.stdout.trim()} (exit code ${result.exitCode})`)

  await sandbox.files.write('notes/visitors.csv', '12\n18\n31\n27\n')
  console.log(`file: ${JSON.stringify(await sandbox.files.read('notes/visitors.csv'))}`)

  // Two calls, one state: the variable of the first is there in the second.
  await sandbox.runCode("visitors = [int(line) for line in open('notes/visitors.csv')]")
  const total = await sandbox.runCode("print('adding up', visitors)\nsum(visitors)")
  console.log(`code: printed ${JSON.stringify(total.logs.stdout)}, the last line is ${total.text}`)

  const failed = await sandbox.runCode('visitors[99]')
  console.log(`an error is an answer: ${failed.error.name}: ${failed.error.value}`)

  const execution = await sandbox.runCode(CHART)
  if (execution.error) throw new Error(`the chart failed: ${execution.error.traceback}`)
  const picture = execution.results.find((result) => result.png)
  await writeFile(chartPath, Buffer.from(picture.png, 'base64'))
  console.log(`chart: ${picture.chart.type} “${picture.chart.title}” saved to ${chartPath}`)
} finally {
  await sandbox.kill()
}
console.log('sandbox killed')
