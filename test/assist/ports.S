# origin: 0x2000
# 64-bit programs of 128 bytes each, for port 123 and the text at 0x1000. Each ends in RDMSR of ffffffff.

.set PORT, 123
.set TEXT, 0x1000

.macro program
  .balign 0x80
.endm
.macro done
  mov $0xffffffff, %ecx
  rdmsr
.endm
.macro receive register, size
  mov $TEXT, %edi
  in $PORT, \register
  mov \register, (%rdi)
  mov $PORT, %edx
  in %dx, \register
  mov \register, \size(%rdi)
  done
.endm
.macro send register, size
  mov $TEXT, %esi
  mov (%rsi), \register
  out \register, $PORT
  mov $PORT, %edx
  mov \size(%rsi), \register
  out \register, %dx
  done
.endm
.macro string instruction, count
  mov $TEXT, %edi
  mov $TEXT, %esi
  mov $PORT, %edx
  mov $\count, %ecx
  rep \instruction
  done
.endm

program
  receive %al, 1
program
  receive %ax, 2
program
  receive %eax, 4
program
  string insb, 5
program
  string insw, 14
program
  string insl, 7
program
  send %al, 1
program
  send %ax, 2
program
  send %eax, 4
program
  string outsb, 5
program
  string outsw, 8
program
  string outsl, 7
