// Every public method with every kind of wrong argument, as the type declarations name them, in processes of their own.
import { expect } from 'chai';
import { node } from '../../support/child.js';
import { publicCallables, type Callable } from './declarations.js';
import type { Report } from './session.js';

/** A part of the calls, unless NVMM_TEST_ALL_CALLS is set (npm run test:hostile). */
const EVERY = process.env['NVMM_TEST_ALL_CALLS'] === undefined ? 12 : 1;

describe('hostile callers', () => {
  let callables: Callable[];
  before(() => {
    callables = publicCallables();
  });

  it('the declarations name what the package has', () => {
    const names = callables.map(({ owner, name }) => (owner === undefined ? name : `${owner}.${name}`));
    expect(names).to.include.members(['openNvmm', 'createMock', 'Machine.mapGpa', 'Vcpu.run', 'SegmentRegister.base']);
  });

  for (const situation of ['idle', 'callback', 'running', 'closed', 'worker']) {
    it(`${situation}: each call returns, or throws what the documentation says`, async function () {
      this.timeout(0); // tens of thousands of calls

      const { status, signal, stdout, stderr } = await node(['dist/test/hostile/callers/session.js', situation], {
        CALLABLES: JSON.stringify(callables),
        EVERY: String(EVERY),
      });
      expect({ status, signal, stderr }).to.deep.equal({ status: 0, signal: null, stderr: '' });
      const report = JSON.parse(stdout) as Report;
      expect(report.withoutReceiver).to.deep.equal([]);
      expect(report.wrong).to.deep.equal([]);
      expect(report.threw).to.be.above(10_000 / EVERY);
    });
  }
});
