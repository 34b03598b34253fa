// The recorded scenarios on the mock, one test each.
import { expect } from 'chai';

import { mockHost, type Host } from '../../lib/selftest/golden/host.js';
import { loadCases, ownScenarios } from '../../lib/selftest/golden/load.js';
import { describeDifference, runCase } from '../../lib/selftest/golden/suite.js';

for (const vendor of ['amd', 'intel'] as const) {
  describe(`golden scenarios, ${vendor}`, () => {
    let host: Host;
    before(() => {
      host = mockHost(vendor);
    });

    const cases = loadCases([ownScenarios], [vendor], false);
    for (const group of new Set(cases.map((item) => item.group))) {
      describe(group, () => {
        for (const item of cases.filter((other) => other.group === group)) {
          it(item.scenario.name, function () {
            const result = runCase(host, item);
            if (result.status === 'skipped') this.skip();
            expect(result.differences.map(describeDifference)).to.deep.equal([]);
          });
        }
      });
    }
  });
}
