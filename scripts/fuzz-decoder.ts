// npm run fuzz:decoder: the decoder of the assists against the software CPU's, for a time: the property of
// test/assist/decode.test.ts with as many instructions as there is time for.
//
//   --minutes N   in all (1 unless given)
//   --seed S      of the random bytes; printed, so that a run can be repeated
import { parseArgs } from 'node:util';
import fc from 'fast-check';
import { CODE_SIZES, difference, instructionBytes } from '../test/support/decoders.js';

const { values } = parseArgs({
  options: {
    minutes: { type: 'string', default: '1' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
  },
});
const minutes = Number(values.minutes);
const seed = Number(values.seed);
if (!(minutes > 0) || !Number.isSafeInteger(seed)) {
  console.error('Usage: npm run fuzz:decoder -- [--minutes N] [--seed S]; N more than 0.');
  process.exit(2);
}

let status = 0;
for (const vendor of ['amd', 'intel'] as const) {
  for (const codeSize of CODE_SIZES) {
    let runs = 0;
    const result = fc.check(
      fc.property(instructionBytes, (code) => {
        runs++;
        const found = difference(vendor, codeSize, code);
        if (found !== undefined) throw new Error(`${Buffer.from(code).toString('hex')}\n${found}`);
      }),
      { numRuns: 2 ** 31 - 1, seed, interruptAfterTimeLimit: (minutes * 60_000) / 6 },
    );
    const failed = result.failed && result.counterexample !== null;
    console.log(
      `${vendor}, code size ${codeSize}: ${runs} instructions, seed ${seed}: ${failed ? 'FOUND' : 'nothing found'}`,
    );
    if (failed) {
      console.error(fc.defaultReportMessage(result));
      status = 1;
    }
  }
}
process.exit(status);
