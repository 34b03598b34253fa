// The decoder against the software CPU's.
import fc from 'fast-check';
import { VENDORS } from '../support/assist.js';
import { CODE_SIZES, difference, instructionBytes } from '../support/decoders.js';

const RUNS = Number(process.env['DECODER_RUNS'] ?? 5000);

describe('the decoder of the assists, compared with the CPU’s', () => {
  for (const vendor of VENDORS) {
    for (const codeSize of CODE_SIZES) {
      it(`${vendor}, code size ${codeSize}`, () => {
        fc.assert(
          fc.property(instructionBytes, (code) => {
            const found = difference(vendor, codeSize, code);
            if (found !== undefined) throw new Error(`${Buffer.from(code).toString('hex')}\n${found}`);
          }),
          { numRuns: RUNS },
        );
      });
    }
  }
});
