import { expect } from 'chai';
import { NvmmError } from 'nvmm';

/** Expects `action` to throw an NvmmError of `code`, and gives it back. */
export function expectCode(code: string, action: () => unknown): NvmmError {
  let thrown: unknown;
  try {
    action();
  } catch (error) {
    thrown = error;
  }
  expect(thrown, `should have failed with ${code}`).to.be.instanceOf(NvmmError);
  expect((thrown as NvmmError).code).to.equal(code);
  return thrown as NvmmError;
}
