import { expect } from 'chai';
import { node } from '../support/child.js';

describe('the examples', () => {
  it('hello prints the guest’s text, the device and the exit counts', async () => {
    const { status, stdout, stderr } = await node(['dist/examples/hello/hello.js']);
    expect(stderr).to.equal('');
    expect(status).to.equal(0);
    const text = 'Hello from a guest of NVMM!\n';
    expect(stdout).to.match(
      new RegExp(`^${text}\\(ran on: (mock|kernel); exits: .*\\b${text.length} IO\\b.*\\b1 HALTED\\b.*\\)\n$`),
    );
  });

  it('calc computes in long mode', async () => {
    expect((await node(['dist/examples/calc/calc.js'])).stdout).to.match(/^gcd\(1071, 462\) = 21 \(computed by/);
    const [a, b] = [2n ** 63n + 2n ** 20n, 3n * 2n ** 40n];
    let [x, y] = [a, b];
    while (y !== 0n) [x, y] = [y, x % y];
    const { stdout } = await node(['dist/examples/calc/calc.js', String(a), String(b)]);
    expect(stdout).to.include(`= ${x} `);
  });

  it('workers has two processors and a device in three Workers', async () => {
    const { status, stdout, stderr } = await node(['dist/examples/workers/workers.js']);
    expect(stderr).to.equal('');
    expect(status).to.equal(0);
    // In and out for each character, an in for the end of each text.
    const exits = ['two processors, ', 'one device'].map((text) => String(2 * text.length + 1));
    expect(stdout).to.match(
      new RegExp(`^TWO PROCESSORS, ONE DEVICE\n\\(ran on: \\w+; exits: ${exits.join(' \\+ ')}\\)\n$`),
    );
  });

  it('probe tells what the device offers', async () => {
    const { stdout } = await node(['dist/examples/probe/probe.js']);
    expect(stdout)
      .to.match(/^device +(mock|kernel)$/m)
      .and.match(/^maxRam +137438953472$/m);
  });
});
