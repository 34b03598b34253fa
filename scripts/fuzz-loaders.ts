// npm run fuzz:loaders: what loads kernels and BIOS images, with damaged and arbitrary files, for a time (fuzz-property.ts has the
// options).
import { anyFile, misconduct } from '../test/pc/images.js';
import { fuzz } from './fuzz-property.js';

fuzz([
  {
    name: 'files',
    inputs: anyFile,
    attempt: (file) => {
      const found = misconduct(file);
      if (found !== undefined) throw new Error(`${Buffer.from(file).toString('base64')}\n${found}`);
    },
  },
]);
