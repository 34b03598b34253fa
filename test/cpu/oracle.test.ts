// The software CPU beside the host's: a small part of what `npm run test:cpu` does.
import { spawnSync } from 'node:child_process';
import { expect } from 'chai';
import { skip } from '../support/skip.js';
import { buildProgram, SKIPPED, unavailable } from './native.js';

describe("The software CPU and the host's", function () {
  this.timeout(600_000);

  before(function () {
    const reason = unavailable();
    if (reason !== undefined) skip(this, reason);
  });

  const run = (context: Mocha.Context, program: string, args: string[]): void => {
    const { status, stdout, stderr } = spawnSync(buildProgram(program), args, { encoding: 'utf8' });
    if (status === SKIPPED) skip(context, stdout.trim());
    expect(status, `${stdout}\n${stderr}`).to.equal(0);
  };

  it('agree on random instructions and states', function () {
    run(this, 'oracle', ['--seed', '1', '--cases', '8000']);
  });

  it('agree on every row of the opcode table', function () {
    run(this, 'opcode_test', ['1', '4']);
  });
});
