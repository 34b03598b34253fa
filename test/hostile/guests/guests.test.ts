// Guests that mean harm, each in a process of its own: the host's memory stays bound, and a stop ends them.
import { expect } from 'chai';
import { node } from '../../support/child.js';
import { GUESTS } from './guests.js';
import type { Report } from './session.js';

// What a processor keeps of decoded code is the largest thing that a guest can make grow: 24 MiB. The rest is the runtime's.
const MOST = 48 * 2 ** 20;

// Milliseconds would tell how busy the host is. The processor time of a stop is the guest's own until it is noticed, and at the
// worst the emptying of what a processor keeps: up to six times that of a plain loop was seen, on a busy host.
const STOPS = 7;
const MOST_TIMES_PLAIN = 20;

// Sanitizers take memory and time of their own.
const instrumented = process.env['NVMM_BUILD_DIR'] !== undefined;

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
          String(STOPS),
        ]);
        expect(stderr).to.equal('');
        expect(status).to.equal(0);
        const { growth, stops, work, plainWork } = JSON.parse(stdout) as Report;
        expect(stops).to.have.length(STOPS);
        if (instrumented) return;
        expect(growth).to.be.below(MOST);
        expect(work, 'processor time of the stops').to.be.below(MOST_TIMES_PLAIN * plainWork);
      });
    }
  }
});
