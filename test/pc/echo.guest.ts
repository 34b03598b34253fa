// Made from echo.S by "npm run guests".
const hex =
  'b800b88ec031c08ed8be4e7c31ffac84c07405b407abebf626c606a00030be547cbaf803ac84c07403eeebf8bafd03ec' +
  'a801740bbaf803ec3c61720224dfeee464a80174e7e46026fe06a000ebde48656c6c6f0072656164790d0a00';

/** The program, and the guest-physical address that it was assembled for. */
export const echo = { origin: 0x7c00, bytes: Uint8Array.from(Buffer.from(hex, 'hex')) };
