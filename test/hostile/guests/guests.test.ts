// Guests that mean harm, each in a process of its own: the host's memory stays bound, and a stop ends them.
import { expect } from 'chai';
import { node } from '../../support/child.js';
import { GUESTS } from './guests.js';
import type { Report } from './session.js';

// What a processor keeps of decoded code is the largest thing that a guest can make grow: 24 MiB. The rest is the runtime's.
const MOST = 48 * 2 ** 20;

describe('hostile guests', () => {
  for (const name of GUESTS) {
    for (const vendor of ['amd', 'intel']) {
      it(`${name} [${vendor}]`, async () => {
        const { status, stdout, stderr } = await node([
          '--expose-gc',
          'dist/test/hostile/guests/session.js',
          name,
          vendor,
          '10',
          '3',
        ]);
        expect(stderr).to.equal('');
        expect(status).to.equal(0);
        const { growth, stops } = JSON.parse(stdout) as Report;
        expect(growth).to.be.below(MOST);
        expect(stops).to.have.length(3);
      });
    }
  }
});
