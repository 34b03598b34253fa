// Preloaded: one check of the selftest fails.
import { CHECKS, type Check } from '../../lib/selftest/checks.js';

(CHECKS as Check[]).push({
  name: 'a check that fails',
  run() {
    throw new Error('two and two are four');
  },
});
