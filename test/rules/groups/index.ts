// All groups of rules, in the order of the report.
import type { Group } from '../rule.js';
import { faults } from './faults.js';
import { kicks, stop } from './kicks.js';
import { limits } from './limits.js';
import { locks } from './locks.js';
import { ownership } from './ownership.js';
import { preemption, timeSlices } from './preemption.js';
import { version1 } from './version1.js';

export const GROUPS: readonly Group[] = [
  version1,
  ownership,
  limits,
  locks,
  kicks,
  stop,
  preemption,
  timeSlices,
  faults,
];
