// npm run fuzz:loaders: the loaders of examples/pc with damaged and arbitrary files, for a time: the property of
// test/pc/loaders.test.ts with as many files as there is time for.
//
//   --minutes N   in all (1 unless given)
//   --seed S      of the files; printed, so that a run can be repeated
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { anyFile, misconduct } from '../test/pc/images.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error('Usage: npm run fuzz:loaders -- [--minutes N] [--seed S]; N more than 0.');
  process.exit(2);
}

let files = 0;
const result = fc.check(
  fc.property(anyFile, (file) => {
    files++;
    const found = misconduct(file);
    if (found !== undefined) throw new Error(`${Buffer.from(file).toString('base64')}\n${found}`);
  }),
  { numRuns: 2 ** 31 - 1, seed, endOnFailure: true, interruptAfterTimeLimit: minutes * 60_000 },
);
const failed = result.failed && result.counterexample !== null;
console.log(`${files} files, seed ${seed}: ${failed ? 'FOUND' : 'nothing found'}`);
if (failed) console.error(fc.defaultReportMessage(result));
process.exit(failed ? 1 : 0);
