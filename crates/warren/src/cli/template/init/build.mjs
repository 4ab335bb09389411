// Builds the template on the server that E2B_API_URL and E2B_API_KEY name.
import { Template, defaultBuildLogger } from 'e2b'
import { template } from './template.mjs'

await Template.build(template, 'NAME', { onBuildLogs: defaultBuildLogger() })
