// Around a program in the guest: results go to port 10, the end is HLT.
#include "run.h"

void program(void);

void put(const void *bytes, size_t size) {
  const u8 *from = bytes;
  while (size--) __asm__ volatile("outb %0, $0x10" : : "a"(*from++));
}

__attribute__((section(".start"), used)) void start(void) {
  __asm__ volatile("fninit");
  program();
  for (;;) __asm__ volatile("hlt");
}
