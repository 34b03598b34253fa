# origin: 0x2000
# 16-bit programs of 64 bytes each, for a device at 0x1000. Each ends in RDMSR.

.code16
.set DEVICE, 0x1000

.macro program
  .balign 0x40
.endm

program # A byte through BX: 23 at F1
  mov $DEVICE + 0xf1, %bx
  movb $0x23, (%bx)
  rdmsr

program # A word through BX + DI: 123 at F3
  mov $DEVICE, %bx
  mov $0xf3, %di
  movw $0x123, (%bx,%di)
  rdmsr

program # A word through BP + SI - 2: 678 at F1
  mov $DEVICE, %bp
  mov $0xf3, %si
  movw $0x678, -2(%bp,%si)
  rdmsr

program # Operands and addresses of 16 and 32 bits, with a negative displacement: 1011 at F6
  mov $DEVICE + 0x100, %ebx
  movl $0x1001, -0xa(%ebx)
  mov $DEVICE + 0xf6, %di
  mov (%di), %eax
  mov $0x10, %cx
  or %eax, (%di)
  or %cx, -0xa(%ebx)
  rdmsr

program # A byte to an absolute address: 12 at 234
  movb $0x12, DEVICE + 0x234
  rdmsr

program # XCHG of a word through BP, of a byte through BP + DI - 4: 1234 at 234
  mov $DEVICE + 0x234, %bp
  movw $0x3412, (%bp)
  mov $0x1200, %ax
  xchg %ax, (%bp)
  mov $4, %di
  mov $0x34, %cl
  xchg %cl, -4(%bp,%di)
  rdmsr
