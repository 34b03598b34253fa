# origin: 0x2000
# 64-bit programs of 256 bytes each, for a device at 0x1000. Each ends in RDMSR of ffffffff.

.set DEVICE, 0x1000

.macro program
  .balign 0x100
.endm
.macro done
  mov $0xffffffff, %ecx
  rdmsr
.endm

program # MOV: SIB with scale, displacement, R8, byte immediate: 3004
  mov $DEVICE, %rax
  mov $0x10, %ebx
  movq $0x3000, -0x20(%rax,%rbx,2)
  mov $DEVICE - 0x7f000000, %r8
  movb $4, 0x7f000000(%r8)
  mov (%rax), %r9
  movl $0, (%rax)
  mov %r9, (%rax)
  done

program # OR of a byte and a word to memory, of 64 bits from memory: 16FF
  mov $DEVICE, %rax
  movq $0x1000, (%rax)
  mov $0xff, %bl
  or %bl, (%rax)
  mov $0x600, %cx
  or %cx, (%rax)
  xor %edx, %edx
  or (%rax), %rdx
  mov %rdx, (%rax)
  done

program # AND: 1FC0
  mov $DEVICE, %rax
  movq $0x1fff, (%rax)
  mov $0xf0, %bl
  and %bl, (%rax)
  mov $0xffcf, %cx
  and %cx, (%rax)
  mov $-1, %rdx
  and (%rax), %rdx
  mov %rdx, (%rax)
  done

program # XOR: 10CF
  mov $DEVICE, %rax
  movq $0x10f0, (%rax)
  mov $0xff, %bl
  xor %bl, (%rax)
  mov $0xc0, %cx
  xor %cx, (%rax)
  xor %edx, %edx
  xor (%rax), %rdx
  mov %rdx, (%rax)
  done

program # 32-bit addresses, with something in the upper halves: 1F00
  mov $0xffffffff00000000 + DEVICE, %rax
  mov $0x1234567800000008, %rbx
  movq $0x1f00, (%eax)
  movq $0x77, -8(%eax,%ebx,2)
  done

program # Absolute addresses: FFAB
  mov $0xab, %al
  movabs %al, DEVICE
  mov $0xff, %al
  movabs %al, DEVICE + 1
  movabs DEVICE, %ax
  mov %rax, %rbx
  mov $0, %eax
  movabs %rax, DEVICE
  movzx %bx, %eax
  movabs %eax, DEVICE
  movabs DEVICE, %rax
  movabs %rax, DEVICE
  done

program # REP STOSB of one, STOSW: 123456
  mov $DEVICE, %edi
  mov $0x56, %al
  mov $1, %ecx
  rep stosb
  mov $0x1234, %ax
  stosw
  done

program # LODSW, LODSB, LODSB: 12345678
  mov $DEVICE, %esi
  movl $0x12345678, (%rsi)
  lodsw
  movzx %ax, %ebx
  lodsb
  movzx %al, %ecx
  shl $16, %ecx
  or %ecx, %ebx
  lodsb
  movzx %al, %ecx
  shl $24, %ecx
  or %ecx, %ebx
  movl $0, DEVICE
  mov %ebx, DEVICE
  done

program # REP MOVSB of 4, REP MOVSW of 2, inside the device: 12345678
  movl $0x12345678, DEVICE + 0x20
  mov $DEVICE + 0x20, %esi
  mov $DEVICE + 0x10, %edi
  mov $4, %ecx
  rep movsb
  mov $DEVICE + 0x10, %esi
  mov $DEVICE, %edi
  mov $2, %ecx
  rep movsw
  done

program # MOVZX of a byte to 32 bits: 78
  movq $0x12345678, DEVICE
  mov $-1, %rax
  movzbl DEVICE, %eax
  mov %rax, DEVICE
  done

program # MOVZX of a word to 64 bits: 5678
  movq $0x12345678, DEVICE
  mov $-1, %rsi
  movzwq DEVICE, %rsi
  mov %rsi, DEVICE
  done

program # CMP of each size, with JNE, JL, JG: 1
  mov $DEVICE, %rax
  movq $0x78, (%rax)
  cmpb $0x78, (%rax)
  jne 1f
  movq $0x1234, (%rax)
  cmpw $0x2234, (%rax)
  jge 1f
  movq $0x12345678, (%rax)
  cmpl $0x12345677, (%rax)
  jle 1f
  movq $-0x1234, (%rax)
  cmpq $-0x1234, (%rax)
  jne 1f
  movq $1, (%rax)
  done
1:
  movq $0, (%rax)
  done

program # SUB in both directions: 0000000F0000A0FF
  mov $DEVICE, %rax
  movabs $0x0000000f0001b10f, %rbx
  mov %rbx, (%rax)
  mov $0x10, %cl
  sub %cl, (%rax) # of the byte: FF
  mov $0x1000, %cx
  sub %cx, (%rax) # A1FF
  mov $0x100, %edx
  sub %dx, (%rax) # A0FF
  mov $0x10000, %edx
  sub %rdx, (%rax)
  movabs $0x0000001e000141fe, %rsi
  sub (%rax), %rsi
  mov %rsi, (%rax)
  done

program # TEST: 1
  mov $DEVICE, %rax
  movq $0x1f00, (%rax)
  testb $0xff, (%rax)
  jnz 1f
  testw $0x1000, (%rax)
  jz 1f
  testl $0xe000, (%rax)
  jnz 1f
  testq $-0x2000, (%rax)
  jnz 1f
  movq $1, (%rax)
  done
1:
  movq $0, (%rax)
  done

program # XCHG of 64, 16 and 8 bits: 123456
  mov $DEVICE, %rax
  movq $0x12, (%rax)
  mov $0x111156, %rbx
  xchg %rbx, (%rax)
  mov $0x3456, %cx
  xchg %cx, (%rax)
  xchg %bl, 2(%rax)
  done

program # XCHG through a 32-bit address: 123456
  mov $0xffffffff00000000 + DEVICE, %rax
  movq $0, (%eax)
  mov $0x123456, %ebx
  xchg %rbx, (%eax)
  done
