// The tests of the software CPU that are written in C++, whose expectations come from the manuals.
import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { skip } from '../support/skip.js';
import { buildProgram, SKIPPED, unavailable } from './native.js';

describe('The software CPU by itself', function () {
  this.timeout(600_000);

  before(function () {
    const reason = unavailable();
    if (reason !== undefined) skip(this, reason);
  });

  for (const [program, what] of [
    ['cpu_test', 'executes small programs, begins and ends runs, locks between two threads'],
    ['system_test', 'has the modes, tables, events, tasks and checks of the manuals'],
    ['fpu_test', 'traps x87 and SSE instructions, and saves their state in every form'],
    ['softfloat_test', "calculates as the host's floating-point unit does"],
  ] as const) {
    it(what, function () {
      const { status, stdout, stderr } = spawnSync(buildProgram(program), { encoding: 'utf8' });
      if (status === SKIPPED) skip(this, stdout.trim());
      expect(status, `${stdout}\n${stderr}`).to.equal(0);
    });
  }
});
