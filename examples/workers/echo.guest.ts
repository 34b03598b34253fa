// Made from echo.S by "npm run guests".
const hex =
  'e41084c07404e611ebf6f4';

/** The program, and the guest-physical address that it was assembled for. */
export const echo = { origin: 0x1000, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
