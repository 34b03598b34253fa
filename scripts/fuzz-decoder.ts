// npm run fuzz:decoder: the decoder of the assists against the software CPU's, for a time (fuzz-property.ts has the options).
import { CODE_SIZES, difference, instructionBytes } from '../test/support/decoders.js';
import { fuzz } from './fuzz-property.js';

fuzz(
  (['amd', 'intel'] as const).flatMap((vendor) =>
    CODE_SIZES.map((codeSize) => ({
      name: `${vendor}, code size ${codeSize}`,
      inputs: instructionBytes,
      attempt: (code: Uint8Array) => {
        const found = difference(vendor, codeSize, code);
        if (found !== undefined) throw new Error(`${Buffer.from(code).toString('hex')}\n${found}`);
      },
    })),
  ),
);
