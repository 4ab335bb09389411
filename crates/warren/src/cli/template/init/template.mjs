// The template NAME: what each sandbox of it has from its start on.
import { Template } from 'e2b'

// Each step is kept and found again by later builds: what changes often stands last.
export const template = Template().fromTemplate('base').pipInstall(['requests']).setWorkdir('/home/user')
