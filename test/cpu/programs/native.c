// Around the same program as a process of the host.
#include <unistd.h>

void program(void);

void put(const void *bytes, __SIZE_TYPE__ size) {
  const char *from = bytes;
  while (size) {
    const long written = write(1, from, size);
    if (written <= 0) _exit(1);
    from += written;
    size -= (__SIZE_TYPE__)written;
  }
}

int main(void) {
  program();
  return 0;
}
