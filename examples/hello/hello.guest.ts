// Made from hello.S by "npm run guests".
const hex =
  'baf803be1110ac84c07403eeebf8f4ebef48656c6c6f2066726f6d2061206775657374206f66204e564d4d210a00';

/** The program, and the guest-physical address that it was assembled for. */
export const hello = { origin: 0x1000, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
