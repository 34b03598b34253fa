import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import { assemble, canAssemble, guestModule, guestSources } from '../../scripts/guests.js';

describe('the bytes beside each guest’s source', () => {
  const assembler = canAssemble();
  for (const source of guestSources().filter((path) => path.endsWith('.S'))) {
    it(`${source}${assembler ? '' : ' (needs GNU as for x86-64)'}`, function () {
      if (!assembler) this.skip();
      expect(readFileSync(guestModule(source), 'utf8')).to.equal(assemble(source));
    });
  }
});
