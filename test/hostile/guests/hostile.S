# origin: 0x1000
# Guests that mean harm, at most 256 bytes each: 64-bit ones first (the first 2 MiB at their own addresses, 128 KiB of memory,
# page tables at 0x10000), then those for real mode. Each counts its rounds at 0x7000 as far as it gets to it.

.set ROUNDS, 0x7000
.set IDT, 0x9000
.set PDPT, 0x11000
.set PD, 0x12000

.macro program name
  .balign 0x100
\name:
.endm

# What linear addresses from 1 GiB on mean is drawn anew in each round, at every level; a page fault begins the next.
program rewritesPageTables
  lea again(%rip), %rax
  mov $IDT, %edi
  mov %ax, 14*16(%rdi)
  movw $8, 14*16+2(%rdi)
  movw $0x8e00, 14*16+4(%rdi)
again:
  mov $0x8000, %esp
  incl ROUNDS
  imul $0x19660d, %r8, %r8
  add $0x3c6ef35f, %r8
  mov %r8, %rax
  shr $20, %eax
  and $511, %eax
  jz again
  mov %r8, PDPT(,%rax,8)
  mov %r8, PD(,%rax,8)
  orq $0x10000+7, PDPT(,%rax,8)
  mov %cr3, %rcx
  mov %rcx, %cr3
  shl $30, %rax
  mov (%rax), %rbx
  mov %rbx, 8(%rax)
  jmp again

# Writes each time other code, at another place, and calls it.
program writesCode
  mov $0x18000, %edi
1:
  incl ROUNDS
  imul $0x19660d, %r8d, %r8d
  add $0x3c6ef35f, %r8d
  movb $0xb8, (%rdi)
  mov %r8d, 1(%rdi)
  movb $0xc3, 5(%rdi)
  call *%rdi
  cmp %r8d, %eax
  jne 2f
  add $13, %edi
  cmp $0x1f000, %edi
  jb 1b
  jmp writesCode
2:
  hlt

# Changes an instruction that another processor executes: both of its forms are good.
program changesCode
1:
  incl ROUNDS
  movb $0xc0, changed+1(%rip)
  movb $0xc8, changed+1(%rip)
  lock incl ROUNDS+4
  jmp 1b
program runsChangedCode
1:
changed:
  inc %eax
  lock incl ROUNDS+4
  jmp 1b

# Every page of the upper half is the same one: a string instruction that never comes to its end.
program readsForever
  mov $0x18000, %edi
  mov $0x19007, %eax
  call fill
  mov $0x1a007, %eax
  call fill
  mov $0x1b007, %eax
  call fill
  mov $0x1f007, %eax
  call fill
  mov 0x10000, %rax
  mov %rax, 0x18000
  mov $0x18000, %eax
  mov %rax, %cr3
  mov $1, %esi
  shl $47, %rsi
  neg %rsi
  mov $-1, %rcx
  incl ROUNDS
  rep lodsb
  hlt
fill:
  mov $512, %ecx
  rep stosq
  ret

# Makes no exit.
program spins
1:
  incl ROUNDS
  jmp 1b

# Nothing but instructions that take a software processor long.
program computesSlowly
  fninit
  fldpi
1:
  incl ROUNDS
  fsin
  fld1
  fpatan
  fldpi
  fyl2x
  fldpi
  fxch
  fptan
  fstp %st
  fprem
  fxsave 0x6000
  jmp 1b

program jumpsIntoDevice
  incl ROUNDS
  mov $0x100000, %eax
  jmp *%rax

program writesToDevice
  mov $0x100000, %edi
1:
  incl ROUNDS
  mov %rdi, (%rdi)
  add $8, %edi
  and $0x1ffff8, %edi
  or $0x100000, %edi
  jmp 1b

# No interrupt table: the third fault ends it.
program shutsDown
  incl ROUNDS
  ud2

.code16
program faultsForever
  movw $1f, 6*4
  movw $0, 6*4+2
1:
  incw ROUNDS
  ud2

# Traps after each instruction, and is never out of the shadow of one that loads SS for long.
program stepsForever
  movw $2f, 1*4
  movw $0, 1*4+2
  pushw $0x302
  popfw
1:
  mov %ss, %ax
  mov %ax, %ss
  jmp 1b
2:
  incw ROUNDS
  iretw

program floodsPort
1:
  incw ROUNDS
  out %al, $0x10
  mov $0x20, %dx
  mov $0xffff, %cx
  xor %si, %si
  rep outsb
  jmp 1b
