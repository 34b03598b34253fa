// The rules on the mock, one test for each and each driver that it is about.
import { appliesTo, checkRule, FLAVOURS } from './rule.js';
import { GROUPS } from './groups/index.js';

for (const flavour of FLAVOURS) {
  describe(`rules of the driver [${flavour.vendor}, version ${flavour.kernelVersion}]`, () => {
    for (const { name, rules } of GROUPS) {
      const applying = rules.filter((rule) => appliesTo(rule, flavour));
      if (applying.length === 0) continue;
      describe(name, () => {
        for (const rule of applying) {
          it(rule.name, () => {
            checkRule(rule, flavour);
          });
        }
      });
    }
  });
}
