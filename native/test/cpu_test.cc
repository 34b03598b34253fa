// Programs for the software CPU, and what the manuals say they leave; and how runs begin and end.
// The bytes are those of the assembly beside them; each program ends with HLT.
#include <atomic>
#include <chrono>
#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "guest.h"

using namespace nvmm::cpu;

namespace {

struct Expectation {
  Gpr gpr;
  uint64_t value;
};

struct Program {
  const char* name;
  Start start;
  std::vector<uint8_t> code;
  std::vector<Expectation> expected;
};

// clang-format off
const Program kPrograms[] = {
    {"add carries into the next word", Start::Real,
     {
         0xb8, 0xff, 0xff, // mov ax, 0xffff
         0xba, 0x01, 0x00, // mov dx, 1
         0x83, 0xc0, 0x01, // add ax, 1
         0x83, 0xd2, 0x00, // adc dx, 0
         0x9c, // pushf
         0x5b, // pop bx
         0x81, 0xe3, 0xd5, 0x08, // and bx, 0x8d5
         0xf4, // hlt
     },
     {{RAX, 0x0}, {RDX, 0x2}, {RBX, 0x0}}},
    {"16-bit addressing wraps at 64K", Start::Real,
     {
         0xbb, 0xf0, 0xff, // mov bx, 0xfff0
         0xbe, 0x20, 0x00, // mov si, 0x20
         0xc6, 0x06, 0x10, 0x00, 0x5a, // mov byte [0x10], 0x5a
         0x8a, 0x00, // mov al, [bx+si]
         0xf4, // hlt
     },
     {{RAX, 0x5a}}},
    {"16-bit branch wraps nothing within the segment", Start::Real,
     {
         0xb9, 0x03, 0x00, // mov cx, 3
         // again:
         0x42, // inc dx
         0xe2, 0xfd, // loop again
         0xf4, // hlt
     },
     {{RDX, 0x3}, {RCX, 0x0}}},
    {"segments add their base", Start::Real,
     {
         0xb8, 0x00, 0x03, // mov ax, 0x300
         0x8e, 0xc0, // mov es, ax
         0x26, 0xc7, 0x06, 0x04, 0x00, 0x34, 0x12, // mov word [es:4], 0x1234
         0x8b, 0x16, 0x04, 0x30, // mov dx, [0x3004]
         0xf4, // hlt
     },
     {{RDX, 0x1234}}},
    {"push and pop, and PUSHA, POPA", Start::Real,
     {
         0xb8, 0x01, 0x00, // mov ax, 1
         0xb9, 0x02, 0x00, // mov cx, 2
         0xba, 0x03, 0x00, // mov dx, 3
         0x60, // pusha
         0x31, 0xc0, // xor ax, ax
         0x31, 0xc9, // xor cx, cx
         0x89, 0xe5, // mov bp, sp
         0x8b, 0x5e, 0x0e, // mov bx, [bp+14]
         0x61, // popa
         0x50, // push ax
         0x52, // push dx
         0x58, // pop ax
         0x5a, // pop dx
         0xf4, // hlt
     },
     {{RAX, 0x3}, {RDX, 0x1}, {RCX, 0x2}, {RSP, 0x8000}}},
    {"ENTER and LEAVE", Start::Real,
     {
         0xbd, 0x77, 0x77, // mov bp, 0x7777
         0xc8, 0x10, 0x00, 0x00, // enter 16, 0
         0x89, 0xe1, // mov cx, sp
         0x89, 0xea, // mov dx, bp
         0xc9, // leave
         0xf4, // hlt
     },
     {{RBP, 0x7777}, {RSP, 0x8000}, {RDX, 0x7ffe}, {RCX, 0x7fee}}},
    {"nested ENTER copies the display", Start::Protected32,
     {
         0xbd, 0x00, 0x90, 0x00, 0x00, // mov ebp, 0x9000
         0xc7, 0x05, 0xfc, 0x8f, 0x00, 0x00, 0x11, 0x11, 0x11, 0x11, // mov dword [0x8ffc], 0x11111111
         0xc8, 0x08, 0x00, 0x02, // enter 8, 2
         0x8b, 0x45, 0x00, // mov eax, [ebp]
         0x8b, 0x4d, 0xfc, // mov ecx, [ebp-4]
         0x8b, 0x55, 0xf8, // mov edx, [ebp-8]
         0x89, 0xe3, // mov ebx, esp
         0xf4, // hlt
     },
     {{RAX, 0x9000}, {RCX, 0x11111111}, {RDX, 0x7ffc}, {RBX, 0x7fec}, {RBP, 0x7ffc}}},
    {"interrupt vector table", Start::Real,
     {
         0xc7, 0x06, 0x84, 0x00, 0x13, 0x10, // mov word [0x21*4], handler
         0xc7, 0x06, 0x86, 0x00, 0x00, 0x00, // mov word [0x21*4+2], 0
         0xfb, // sti
         0xcd, 0x21, // int 0x21
         0xb9, 0x07, 0x00, // mov cx, 7
         0xf4, // hlt
         // handler:
         0xb8, 0x05, 0x00, // mov ax, 5
         0x9c, // pushf
         0x5a, // pop dx
         0x81, 0xe2, 0x00, 0x02, // and dx, 0x200
         0xcf, // iret
     },
     {{RAX, 0x5}, {RCX, 0x7}, {RDX, 0x0}, {RSP, 0x8000}}},
    {"divide error is a fault", Start::Real,
     {
         0xc7, 0x06, 0x00, 0x00, 0x14, 0x10, // mov word [0], handler
         0xc7, 0x06, 0x02, 0x00, 0x00, 0x00, // mov word [2], 0
         0xb8, 0x64, 0x00, // mov ax, 100
         0x30, 0xdb, // xor bl, bl
         // fault:
         0xf6, 0xf3, // div bl
         0xf4, // hlt
         // handler:
         0x5a, // pop dx
         0xf4, // hlt
     },
     {{RAX, 0x64}, {RDX, 0x1011}}},
    {"decimal adjustments", Start::Real,
     {
         0xb0, 0x79, // mov al, 0x79
         0x04, 0x35, // add al, 0x35
         0x27, // daa
         0x88, 0xc3, // mov bl, al
         0x0f, 0x92, 0xc7, // setc bh
         0xb8, 0x05, 0x01, // mov ax, 0x0105
         0xd5, 0x0a, // aad
         0x88, 0xc1, // mov cl, al
         0xb0, 0x2f, // mov al, 47
         0xd4, 0x0a, // aam
         0x89, 0xc2, // mov dx, ax
         0xf4, // hlt
     },
     {{RBX, 0x114}, {RCX, 0xf}, {RDX, 0x407}}},
    {"32-bit operands in 16-bit code", Start::Real,
     {
         0x66, 0xb8, 0x78, 0x56, 0x34, 0x12, // mov eax, 0x12345678
         0x66, 0x0f, 0xc8, // bswap eax
         0x66, 0x89, 0xc2, // mov edx, eax
         0x66, 0xc1, 0xea, 0x10, // shr edx, 16
         0x66, 0x0f, 0xb6, 0xc8, // movzx ecx, al
         0xf4, // hlt
     },
     {{RAX, 0x78563412}, {RDX, 0x7856}, {RCX, 0x12}}},
    {"BCD string and XLAT", Start::Real,
     {
         0xbb, 0x00, 0x20, // mov bx, 0x2000
         0xc6, 0x47, 0x09, 0x99, // mov byte [bx+9], 0x99
         0xb0, 0x09, // mov al, 9
         0xd7, // xlat
         0xf4, // hlt
     },
     {{RAX, 0x99}}},
    {"multiplication and division, signed", Start::Protected32,
     {
         0xb8, 0xf9, 0xff, 0xff, 0xff, // mov eax, -7
         0xb9, 0x03, 0x00, 0x00, 0x00, // mov ecx, 3
         0xf7, 0xe9, // imul ecx
         0x89, 0xc3, // mov ebx, eax
         0x99, // cdq
         0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
         0xf7, 0xf9, // idiv ecx
         0xf4, // hlt
     },
     {{RBX, 0xffffffeb}, {RAX, 0xfffffffb}, {RDX, 0xffffffff}}},
    {"shifts and rotates", Start::Protected32,
     {
         0xb8, 0x01, 0x00, 0x00, 0x80, // mov eax, 0x80000001
         0xc1, 0xc0, 0x04, // rol eax, 4
         0xb9, 0x00, 0x00, 0x00, 0xf0, // mov ecx, 0xf0000000
         0xc1, 0xf9, 0x1c, // sar ecx, 28
         0xba, 0x78, 0x56, 0x34, 0x12, // mov edx, 0x12345678
         0xbb, 0xf0, 0xde, 0xbc, 0x9a, // mov ebx, 0x9abcdef0
         0x0f, 0xa4, 0xda, 0x08, // shld edx, ebx, 8
         0xf9, // stc
         0xd1, 0xdb, // rcr ebx, 1
         0xf4, // hlt
     },
     {{RAX, 0x18}, {RCX, 0xffffffff}, {RDX, 0x3456789a}, {RBX, 0xcd5e6f78}}},
    {"bit tests reach beyond their operand", Start::Protected32,
     {
         0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, // mov dword [0x2000], 0
         0xb8, 0xfd, 0xff, 0xff, 0xff, // mov eax, -3
         0x0f, 0xab, 0x05, 0x04, 0x20, 0x00, 0x00, // bts dword [0x2004], eax
         0x8b, 0x0d, 0x00, 0x20, 0x00, 0x00, // mov ecx, [0x2000]
         0x0f, 0xa3, 0x05, 0x04, 0x20, 0x00, 0x00, // bt dword [0x2004], eax
         0x0f, 0x92, 0xc2, // setc dl
         0x0f, 0xbc, 0xd9, // bsf ebx, ecx
         0x0f, 0xbd, 0xf1, // bsr esi, ecx
         0xf4, // hlt
     },
     {{RCX, 0x20000000}, {RDX, 0x1}, {RBX, 0x1d}, {RSI, 0x1d}}},
    {"CMPXCHG8B both ways", Start::Protected32,
     {
         0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x05, 0x00, 0x00, 0x00, // mov dword [0x2000], 5
         0xc7, 0x05, 0x04, 0x20, 0x00, 0x00, 0x06, 0x00, 0x00, 0x00, // mov dword [0x2004], 6
         0xb8, 0x05, 0x00, 0x00, 0x00, // mov eax, 5
         0xba, 0x06, 0x00, 0x00, 0x00, // mov edx, 6
         0xbb, 0x07, 0x00, 0x00, 0x00, // mov ebx, 7
         0xb9, 0x08, 0x00, 0x00, 0x00, // mov ecx, 8
         0xf0, 0x0f, 0xc7, 0x0d, 0x00, 0x20, 0x00, 0x00, // lock cmpxchg8b [0x2000]
         0x0f, 0x94, 0xc3, // setz bl
         0x8b, 0x35, 0x00, 0x20, 0x00, 0x00, // mov esi, [0x2000]
         0x8b, 0x3d, 0x04, 0x20, 0x00, 0x00, // mov edi, [0x2004]
         0xf0, 0x0f, 0xc7, 0x0d, 0x00, 0x20, 0x00, 0x00, // lock cmpxchg8b [0x2000]
         0x0f, 0x94, 0xc7, // setz bh
         0xf4, // hlt
     },
     {{RSI, 0x7}, {RDI, 0x8}, {RBX, 0x1}, {RAX, 0x7}, {RDX, 0x8}}},
    {"string moves, down and up", Start::Protected32,
     {
         0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x11, 0x22, 0x33, 0x44, // mov dword [0x2000], 0x44332211
         0xbe, 0x03, 0x20, 0x00, 0x00, // mov esi, 0x2003
         0xbf, 0x07, 0x20, 0x00, 0x00, // mov edi, 0x2007
         0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
         0xfd, // std
         0xf3, 0xa4, // rep movsb
         0xfc, // cld
         0xa1, 0x04, 0x20, 0x00, 0x00, // mov eax, [0x2004]
         0xbf, 0x00, 0x20, 0x00, 0x00, // mov edi, 0x2000
         0xb9, 0x64, 0x00, 0x00, 0x00, // mov ecx, 100
         0xb0, 0x33, // mov al, 0x33
         0xf2, 0xae, // repne scasb
         0x89, 0xfa, // mov edx, edi
         0xf4, // hlt
     },
     {{RAX, 0x44332233}, {RDX, 0x2003}, {RCX, 0x61}}},
    {"overlapping upward move repeats its start", Start::Protected32,
     {
         0xc7, 0x05, 0x00, 0x20, 0x00, 0x00, 0x01, 0x02, 0x03, 0x00, // mov dword [0x2000], 0x030201
         0xbe, 0x00, 0x20, 0x00, 0x00, // mov esi, 0x2000
         0xbf, 0x03, 0x20, 0x00, 0x00, // mov edi, 0x2003
         0xb9, 0x09, 0x00, 0x00, 0x00, // mov ecx, 9
         0xf3, 0xa4, // rep movsb
         0xa1, 0x08, 0x20, 0x00, 0x00, // mov eax, [0x2008]
         0xf4, // hlt
     },
     {{RAX, 0x3020103}, {RSI, 0x2009}, {RDI, 0x200c}}},
    {"REP of 8192 bytes over page ends", Start::Long,
     {
         0xbf, 0x10, 0x00, 0x02, 0x00, // mov edi, 0x20010
         0xb9, 0x00, 0x20, 0x00, 0x00, // mov ecx, 8192
         0xb0, 0xf7, // mov al, 0xf7
         0xf3, 0xaa, // rep stosb
         0xbe, 0x10, 0x00, 0x02, 0x00, // mov esi, 0x20010
         0xbf, 0x23, 0x01, 0x03, 0x00, // mov edi, 0x30123
         0xb9, 0x00, 0x20, 0x00, 0x00, // mov ecx, 8192
         0xf3, 0xa4, // rep movsb
         0x48, 0x8b, 0x04, 0x25, 0x1b, 0x21, 0x03, 0x00, // mov rax, [0x32123-8+0]
         0x48, 0x8b, 0x14, 0x25, 0x23, 0x21, 0x03, 0x00, // mov rdx, [0x32123]
         0xbe, 0x10, 0x00, 0x02, 0x00, // mov esi, 0x20010
         0xbf, 0x23, 0x01, 0x03, 0x00, // mov edi, 0x30123
         0xc6, 0x04, 0x25, 0x23, 0x21, 0x03, 0x00, 0x01, // mov byte [0x30123+8192], 1
         0xb9, 0x28, 0x23, 0x00, 0x00, // mov ecx, 9000
         0xf3, 0xa6, // repe cmpsb
         0xf4, // hlt
     },
     {{RAX, 0xf7f7f7f7f7f7f7f7}, {RDX, 0x0}, {RCX, 0x327}}},
    {"a 32-bit result clears the upper half, a 16-bit one does not", Start::Long,
     {
         0x48, 0xc7, 0xc0, 0xff, 0xff, 0xff, 0xff, // mov rax, -1
         0x48, 0xc7, 0xc1, 0xff, 0xff, 0xff, 0xff, // mov rcx, -1
         0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
         0x66, 0xb9, 0x01, 0x00, // mov cx, 1
         0x48, 0xc7, 0xc2, 0xff, 0xff, 0xff, 0xff, // mov rdx, -1
         0xb2, 0x00, // mov dl, 0
         0x48, 0xc7, 0xc3, 0xff, 0xff, 0xff, 0xff, // mov rbx, -1
         0x30, 0xff, // xor bh, bh
         0xf4, // hlt
     },
     {{RAX, 0x1}, {RCX, 0xffffffffffff0001}, {RDX, 0xffffffffffffff00}, {RBX, 0xffffffffffff00ff}}},
    {"RIP-relative addressing, and immediate behind it", Start::Long,
     {
         0xc7, 0x05, 0x07, 0x00, 0x00, 0x00, 0x04, 0x03, 0x02, 0x01, // mov dword [rel data], 0x01020304
         0x8b, 0x05, 0x01, 0x00, 0x00, 0x00, // mov eax, [rel data]
         0xf4, // hlt
         0x00, 0x00, 0x00, 0x00, // data: dd 0
     },
     {{RAX, 0x1020304}}},
    {"64-bit multiplication and division", Start::Long,
     {
         0x48, 0xb8, 0xf0, 0xde, 0xbc, 0x9a, 0x78, 0x56, 0x34, 0x12, // mov rax, 0x123456789abcdef0
         0x48, 0xb9, 0x10, 0x32, 0x54, 0x76, 0x98, 0xba, 0xdc, 0xfe, // mov rcx, 0xfedcba9876543210
         0x48, 0xf7, 0xe1, // mul rcx
         0x49, 0x89, 0xc0, // mov r8, rax
         0x49, 0x89, 0xd1, // mov r9, rdx
         0x48, 0xf7, 0xf1, // div rcx
         0xf4, // hlt
     },
     {{R8, 0x236d88fe5618cf00}, {R9, 0x121fa00ad77d7422}, {RAX, 0x123456789abcdef0}, {RDX, 0x0}}},
    {"REX registers, SIB without base, byte registers", Start::Long,
     {
         0x41, 0xbc, 0x00, 0x20, 0x00, 0x00, // mov r12d, 0x2000
         0x41, 0xbd, 0x10, 0x00, 0x00, 0x00, // mov r13d, 0x10
         0x43, 0xc6, 0x44, 0x6c, 0x05, 0x42, // mov byte [r12+r13*2+5], 0x42
         0x43, 0x0f, 0xb6, 0x84, 0x2d, 0x05, 0x20, 0x00, 0x00, // movzx eax, byte [r13*2+0x2005]
         0x40, 0xb6, 0x99, // mov sil, 0x99
         0x40, 0x0f, 0xb6, 0xce, // movzx ecx, sil
         0xf4, // hlt
     },
     {{RAX, 0x42}, {RCX, 0x99}}},
    {"conditional moves and sets", Start::Long,
     {
         0xb8, 0x05, 0x00, 0x00, 0x00, // mov eax, 5
         0x83, 0xf8, 0x07, // cmp eax, 7
         0xb9, 0x01, 0x00, 0x00, 0x00, // mov ecx, 1
         0xba, 0x02, 0x00, 0x00, 0x00, // mov edx, 2
         0x0f, 0x4c, 0xca, // cmovl ecx, edx
         0x0f, 0x9f, 0xc3, // setg bl
         0x0f, 0x92, 0xc7, // setb bh
         0xf4, // hlt
     },
     {{RCX, 0x2}, {RBX, 0x100}}},
    {"CMPXCHG16B", Start::Long,
     {
         0x48, 0xc7, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, // mov qword [0x2000], 1
         0x48, 0xc7, 0x04, 0x25, 0x08, 0x20, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, // mov qword [0x2008], 2
         0xb8, 0x01, 0x00, 0x00, 0x00, // mov eax, 1
         0xba, 0x02, 0x00, 0x00, 0x00, // mov edx, 2
         0xbb, 0x03, 0x00, 0x00, 0x00, // mov ebx, 3
         0xb9, 0x04, 0x00, 0x00, 0x00, // mov ecx, 4
         0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0x00, 0x20, 0x00, 0x00, // lock cmpxchg16b [0x2000]
         0x4c, 0x8b, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, // mov r8, [0x2000]
         0x4c, 0x8b, 0x0c, 0x25, 0x08, 0x20, 0x00, 0x00, // mov r9, [0x2008]
         0xf4, // hlt
     },
     {{R8, 0x3}, {R9, 0x4}}},
    {"XADD, XCHG, MOVBE", Start::Long,
     {
         0xc7, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, 0x28, 0x00, 0x00, 0x00, // mov dword [0x2000], 40
         0xb8, 0x02, 0x00, 0x00, 0x00, // mov eax, 2
         0xf0, 0x0f, 0xc1, 0x04, 0x25, 0x00, 0x20, 0x00, 0x00, // lock xadd [0x2000], eax
         0x8b, 0x0c, 0x25, 0x00, 0x20, 0x00, 0x00, // mov ecx, [0x2000]
         0x87, 0x0c, 0x25, 0x04, 0x20, 0x00, 0x00, // xchg ecx, [0x2004]
         0xba, 0x44, 0x33, 0x22, 0x11, // mov edx, 0x11223344
         0x0f, 0x38, 0xf1, 0x14, 0x25, 0x08, 0x20, 0x00, 0x00, // movbe [0x2008], edx
         0x8b, 0x1c, 0x25, 0x08, 0x20, 0x00, 0x00, // mov ebx, [0x2008]
         0xf4, // hlt
     },
     {{RAX, 0x28}, {RCX, 0x0}, {RBX, 0x44332211}}},
    {"call, return and a far return of 64-bit code", Start::Long,
     {
         0xe8, 0x06, 0x00, 0x00, 0x00, // call f
         0xb9, 0x02, 0x00, 0x00, 0x00, // mov ecx, 2
         0xf4, // hlt
         // f:
         0x8b, 0x04, 0x24, // mov eax, [rsp]
         0xc3, // ret
     },
     {{RCX, 0x2}, {RSP, 0x8000}}},
    {"code that rewrites the next instruction", Start::Long,
     {
         0xc6, 0x05, 0x01, 0x00, 0x00, 0x00, 0x07, // mov byte [rel patch+1], 7
         // patch:
         0xb0, 0x01, // mov al, 1
         0xf4, // hlt
     },
     {{RAX, 0x7}}},
    {"code that rewrites itself in a loop", Start::Long,
     {
         0x31, 0xc0, // xor eax, eax
         0x31, 0xc9, // xor ecx, ecx
         // again:
         // patch:
         0x83, 0xc0, 0x01, // add eax, 1
         0xfe, 0x05, 0xf9, 0xff, 0xff, 0xff, // inc byte [rel patch+2]
         0xff, 0xc1, // inc ecx
         0x83, 0xf9, 0x0a, // cmp ecx, 10
         0x72, 0xf0, // jb again
         0xf4, // hlt
     },
     {{RAX, 0x37}}},
    {"data and a stack in the page of the code", Start::Long,
     {
         0xbc, 0x00, 0x18, 0x00, 0x00, // mov esp, 0x1800
         0x31, 0xc0, // xor eax, eax
         0xb9, 0xd0, 0x07, 0x00, 0x00, // mov ecx, 2000
         // again:
         0x51, // push rcx
         0xff, 0x04, 0x25, 0x00, 0x19, 0x00, 0x00, // inc dword [0x1900]
         0x5a, // pop rdx
         0x01, 0xd0, // add eax, edx
         0xff, 0xc9, // dec ecx
         0x75, 0xf1, // jnz again
         0x8b, 0x1c, 0x25, 0x00, 0x19, 0x00, 0x00, // mov ebx, [0x1900]
         0xf4, // hlt
     },
     {{RAX, 0x1e8868}, {RBX, 0x7d0}}},
    {"REP STOS over its own code stops at the new bytes", Start::Long,
     {
         0xbf, 0x0e, 0x10, 0x00, 0x00, // mov edi, after
         0xb9, 0x01, 0x00, 0x00, 0x00, // mov ecx, 1
         0xb0, 0xf4, // mov al, 0xf4
         0xf3, 0xaa, // rep stosb
         // after:
         0xff, 0xc3, // inc ebx
         0xf4, // hlt
     },
     {{RBX, 0x0}}},
    {"LAHF, SAHF", Start::Long,
     {
         0xb4, 0xd7, // mov ah, 0xd7
         0x9e, // sahf
         0x9f, // lahf
         0xf4, // hlt
     },
     {{RAX, 0xd700}}},
    {"flags of subtraction", Start::Long,
     {
         0xb0, 0x80, // mov al, 0x80
         0x2c, 0x01, // sub al, 1
         0x9c, // pushfq
         0x59, // pop rcx
         0x81, 0xe1, 0xd5, 0x08, 0x00, 0x00, // and ecx, 0x8d5
         0xf4, // hlt
     },
     {{RCX, 0x810}, {RAX, 0x7f}}},
    {"INC keeps the carry", Start::Long,
     {
         0xf9, // stc
         0xb8, 0xff, 0xff, 0xff, 0x7f, // mov eax, 0x7fffffff
         0xff, 0xc0, // inc eax
         0x9c, // pushfq
         0x59, // pop rcx
         0x81, 0xe1, 0xd5, 0x08, 0x00, 0x00, // and ecx, 0x8d5
         0xf4, // hlt
     },
     {{RCX, 0x895}}},
    {"BMI1 and BMI2", Start::Long,
     {
         0xb8, 0xf0, 0x0f, 0x00, 0x00, // mov eax, 0x0ff0
         0xb9, 0xf0, 0x00, 0x00, 0x00, // mov ecx, 0x00f0
         0xc4, 0xe2, 0x70, 0xf2, 0xd0, // andn edx, ecx, eax
         0xc4, 0xe2, 0x60, 0xf3, 0xc8, // blsr ebx, eax
         0xbe, 0x04, 0x04, 0x00, 0x00, // mov esi, 0x0404
         0xc4, 0xe2, 0x48, 0xf7, 0xf8, // bextr edi, eax, esi
         0xc4, 0x62, 0x7a, 0xf5, 0xc0, // pext r8d, eax, eax
         0xc4, 0x63, 0x7b, 0xf0, 0xc8, 0x04, // rorx r9d, eax, 4
         0xf4, // hlt
     },
     {{RDX, 0xf00}, {RBX, 0xfe0}, {RDI, 0xf}, {R8, 0xff}, {R9, 0xff}}},
    {"an access across a 2 MiB boundary", Start::Long,
     {
         0xc7, 0x04, 0x25, 0x00, 0x00, 0x20, 0x00, 0xff, 0xff, 0xff, 0xff, // mov dword [0x200000], -1
         0x8b, 0x0c, 0x25, 0xf0, 0xff, 0x1f, 0x00, // mov ecx, [0x1ffff0]
         0x48, 0xb8, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rax, 0x1122334455667788
         0x48, 0x89, 0x04, 0x25, 0xfc, 0xff, 0x1f, 0x00, // mov [0x1ffffc], rax
         0x48, 0x8b, 0x14, 0x25, 0xfc, 0xff, 0x1f, 0x00, // mov rdx, [0x1ffffc]
         0x8b, 0x1c, 0x25, 0x00, 0x00, 0x20, 0x00, // mov ebx, [0x200000]
         0x8b, 0x34, 0x25, 0xfc, 0x0f, 0x20, 0x00, // mov esi, [0x200ffc]
         0xf4, // hlt
     },
     {{RDX, 0x1122334455667788}, {RBX, 0x11223344}, {RSI, 0x0}}},
};
// clang-format on

int failures = 0, checks = 0;
const char* test = "";

void check(bool ok, const char* what, uint64_t expected = 0, uint64_t actual = 0) {
  ++checks;
  if (ok) return;
  ++failures;
  printf("%s: %s: expected %#llx, got %#llx\n", test, what, static_cast<unsigned long long>(expected),
         static_cast<unsigned long long>(actual));
}
template <typename T, typename U>
void equal(const char* what, T expected, U actual) {
  check(static_cast<uint64_t>(expected) == static_cast<uint64_t>(actual), what, static_cast<uint64_t>(expected),
        static_cast<uint64_t>(actual));
}

const char* const kGprNames[] = {"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
                                 "R8",  "R9",  "R10", "R11", "R12", "R13", "R14", "R15"};

// Each program in one run, and again with a budget of one instruction a run: the results must be the same.
void programs() {
  for (const Program& program : kPrograms) {
    test = program.name;
    for (uint64_t budget : {uint64_t{1000000}, uint64_t{1}}) {
      Guest guest(program.start);
      guest.load(program.code.data(), program.code.size());
      ExitKind kind = ExitKind::Budget;
      for (uint64_t runs = 0; kind == ExitKind::Budget && runs * budget < 1000000; ++runs)
        kind = guest.cpu.run(budget).kind;
      equal("exit", ExitKind::Halt, kind);
      for (const Expectation& e : program.expected) equal(kGprNames[e.gpr], e.value, guest.cpu.state().gpr[e.gpr]);
    }
  }
}

// ---- How runs begin and end ----

constexpr uint8_t kSpin[] = {0xff, 0xc0, 0xeb, 0xfc};  // inc eax; jmp to it

void budget() {
  test = "a budget ends a loop, and the clock counts its instructions";
  Guest guest(Start::Long);
  guest.load(kSpin, sizeof(kSpin));
  for (int i = 1; i <= 3; ++i) {
    equal("exit", ExitKind::Budget, guest.cpu.run(1000).kind);
    equal("instructions", 1000 * i, guest.cpu.instructions());
    equal("RAX", 500 * i, guest.cpu.state().gpr[RAX]);
  }
}

void timeStamps() {
  test = "RDTSC counts instructions, exactly in the middle of a block";
  Guest guest(Start::Long);
  const uint8_t code[] = {0x0f, 0x31, 0x89, 0xc1, 0x90,
                          0x0f, 0x31, 0x29, 0xc8, 0xf4};  // rdtsc; mov ecx, eax; nop; rdtsc
  guest.load(code, sizeof(code));                         // sub eax, ecx; hlt
  guest.cpu.state().tscOffset = 1000;
  equal("exit", ExitKind::Halt, guest.cpu.run(100).kind);
  equal("first", 1000, guest.cpu.state().gpr[RCX]);
  equal("difference", 3, guest.cpu.state().gpr[RAX]);
}

void interruption() {
  test = "interrupt() ends the next run, once";
  Guest guest(Start::Long);
  guest.load(kSpin, sizeof(kSpin));
  guest.cpu.interrupt();
  equal("exit", ExitKind::Budget, guest.cpu.run(1000).kind);
  equal("instructions", 0, guest.cpu.instructions());
  equal("exit", ExitKind::Budget, guest.cpu.run(1000).kind);
  equal("instructions", 1000, guest.cpu.instructions());

  test = "interrupt() and flushMemory() reach a running loop";
  std::atomic<bool> running{true};
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) guest.cpu.flushMemory();
    while (running) {
      guest.cpu.interrupt();
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  for (int i = 0; i < 3; ++i) equal("exit", ExitKind::Budget, guest.cpu.run(~uint64_t{0}).kind);
  running = false;
  other.join();
}

// Two processors, each a thread, add to one counter of a shared memory. The loops wait for each other first.
void atomicity() {
  constexpr uint64_t kCounter = 0x5000, kFlags = 0x7000;
  constexpr uint32_t kRounds = 200000;
  const struct {
    const char* name;
    std::vector<uint8_t> code;
  } kBodies[] = {
      {"LOCK INC", {0xf0, 0x48, 0xff, 0x07}},                                       // lock inc qword [rdi]
      {"LOCK XADD", {0xb8, 0x01, 0x00, 0x00, 0x00, 0xf0, 0x48, 0x0f, 0xc1, 0x07}},  // mov eax, 1; lock xadd [rdi], rax
      {"LOCK CMPXCHG",
       {
           0x48, 0x8b, 0x07,              // mov rax, [rdi]
           0x48, 0x8d, 0x50, 0x01,        // again: lea rdx, [rax+1]
           0xf0, 0x48, 0x0f, 0xb1, 0x17,  // lock cmpxchg [rdi], rdx
           0x75, 0xf5,                    // jne again
       }},
      {"LOCK BTS and BTR",
       {
           0xf0, 0x0f, 0xba, 0x6e, 0x08, 0x00,  // again: lock bts dword [rsi+8], 0
           0x72, 0xf8,                          // jc again
           0x48, 0xff, 0x07,                    // inc qword [rdi]
           0xf0, 0x0f, 0xba, 0x76, 0x08, 0x00,  // lock btr dword [rsi+8], 0
       }},
      {"XCHG",
       {
           0xb8, 0x01, 0x00, 0x00, 0x00,  // again: mov eax, 1
           0x87, 0x46, 0x08,              // xchg [rsi+8], eax
           0x85, 0xc0,                    // test eax, eax
           0x75, 0xf4,                    // jne again
           0x48, 0xff, 0x07,              // inc qword [rdi]
           0x87, 0x46, 0x08,              // xchg [rsi+8], eax
       }},
  };
  test = "LOCK between two processors";
  for (Vendor vendor : {Vendor::Amd, Vendor::Intel}) {
    for (const auto& [name, body] : kBodies) {
      for (uint64_t counter : {kCounter, kCounter + 0x3c, kCounter + 0xffc}) {  // across a cache line and a page too
        Guest guest(Start::Long, vendor);
        std::vector<uint8_t> code = {
            0xf0, 0xff, 0x06,  // lock inc dword [rsi]
            0x83, 0x3e, 0x02,  // wait: cmp dword [rsi], 2
            0xf3, 0x90,        // pause
            0x75, 0xf9,        // jne wait
        };
        code.insert(code.end(), body.begin(), body.end());
        const auto back = static_cast<uint8_t>(-static_cast<int>(body.size() + 4));
        code.insert(code.end(), {0xff, 0xc9, 0x75, back, 0xf4});  // dec ecx; jnz to the body; hlt
        guest.load(code.data(), code.size());
        Cpu second(guest.memory, model(vendor));
        State& s = guest.cpu.state();
        s.gpr[RCX] = kRounds;
        s.gpr[RDI] = counter;
        s.gpr[RSI] = kFlags;
        second.state() = s;
        ExitKind exit{};
        std::thread other([&] { exit = second.run(~uint64_t{0}).kind; });
        equal(name, ExitKind::Halt, guest.cpu.run(~uint64_t{0}).kind);
        other.join();
        equal(name, ExitKind::Halt, exit);
        equal(name, 2 * kRounds, guest.read<uint64_t>(counter));
      }
    }
  }
}

void changedCode() {
  test = "code that the host rewrites between two runs";
  Guest guest(Start::Long);
  const uint8_t code[] = {0xb0, 0x01, 0xf4};  // mov al, 1; hlt
  guest.load(code, sizeof(code));
  for (uint8_t i = 1; i < 4; ++i) {
    guest.memory.bytes()[Guest::kCode + 1] = i;
    guest.cpu.state().rip = Guest::kCode;
    equal("exit", ExitKind::Halt, guest.cpu.run(100).kind);
    equal("AL", i, guest.cpu.state().gpr[RAX] & 0xff);
  }
}

void crossing() {
  test = "an instruction across two pages, both of which are rewritten";
  Guest guest(Start::Long);
  const uint8_t code[] = {0xb8, 0x11, 0x22, 0x33, 0x44, 0xff, 0xc2, 0x75, 0xf7, 0xf4};  // mov eax, i32; inc edx
  uint64_t at = 0x2ffe;                                                                 // jnz to the mov; hlt
  for (uint8_t i = 0; i < 4; ++i) {
    guest.load(code, sizeof(code), at);
    guest.memory.bytes()[0x2fff] = i;
    guest.memory.bytes()[0x3000] = static_cast<uint8_t>(i + 1);
    guest.cpu.state().rip = at;
    guest.cpu.state().gpr[RDX] = static_cast<uint32_t>(-5);
    equal("exit", ExitKind::Halt, guest.cpu.run(100).kind);
    equal("EAX", 0x44330000u | (i + 1u) << 8 | i, guest.cpu.state().gpr[RAX]);
  }
}

// The vector of the exception that the code raises: a real-mode vector table sends each to a HLT of its own.
unsigned exceptionOf(const std::vector<uint8_t>& code) {
  Guest guest(Start::Real);
  for (uint16_t v = 0; v < 32; ++v) {
    guest.write<uint32_t>(4u * v, 0x4000u + v);
    guest.memory.bytes()[0x4000 + v] = 0xf4;
  }
  guest.load(code.data(), code.size());
  if (guest.cpu.run(1000).kind != ExitKind::Halt) return 255;
  uint64_t rip = guest.cpu.state().rip;
  return rip >= 0x4000 && rip < 0x4020 ? static_cast<unsigned>(rip - 0x4000) : 254;
}

void exceptions() {
  test = "exceptions of the decoder";
  equal("LOCK of a register", 6, exceptionOf({0xf0, 0x01, 0xc0}));
  equal("LOCK of CMP", 6, exceptionOf({0xf0, 0x39, 0x07}));
  equal("LOCK ADD in memory", 254, exceptionOf({0xf0, 0x01, 0x07, 0xf4}));
  equal("UD2", 6, exceptionOf({0x0f, 0x0b}));
  equal("LEA of a register", 6, exceptionOf({0x8d, 0xc0}));
  equal("MOV to CS", 6, exceptionOf({0x8e, 0xc8}));
  equal("segment register 7", 6, exceptionOf({0x8e, 0xf8}));
  equal("SLDT in real mode", 6, exceptionOf({0x0f, 0x00, 0xc0}));
  equal("VEX in real mode", 6, exceptionOf({0xc4, 0xe2, 0x78, 0xf2, 0xc0}));
  equal("fifteen bytes", 254,
        exceptionOf({0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x90, 0xf4}));
  equal("sixteen bytes", 13,
        exceptionOf({0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x26, 0x90}));
  test = "exceptions of instructions";
  equal("BOUND", 5, exceptionOf({0xb8, 0x05, 0x00, 0x62, 0x06, 0x00, 0x30}));  // mov ax, 5; bound ax, [0x3000]
  equal("AAM 0", 0, exceptionOf({0xd4, 0x00}));
  equal("quotient too large", 0,
        exceptionOf({0xb8, 0xff, 0xff, 0xb3, 0x01, 0xf6, 0xf3}));           // mov ax, -1; mov bl, 1; div bl
  equal("word at the segment's end", 13, exceptionOf({0xa1, 0xff, 0xff}));  // mov ax, [0xffff]
  equal("jump behind the limit", 13, exceptionOf({0x66, 0xe9, 0x00, 0x00, 0x01, 0x00}));
  equal("INT3", 3, exceptionOf({0xcc}));
  equal("INTO", 4, exceptionOf({0xb0, 0x7f, 0xfe, 0xc0, 0xce}));  // mov al, 127; inc al; into
}

void windows() {
  test = "the interrupt window opens one instruction after STI";
  Guest guest(Start::Real);
  const uint8_t code[] = {0x40, 0xfb, 0x40, 0x40, 0xf4};  // inc ax; sti; inc ax; inc ax; hlt
  guest.load(code, sizeof(code));
  guest.cpu.controls().interruptWindow = true;
  equal("exit", ExitKind::InterruptWindow, guest.cpu.run(100).kind);
  equal("RIP", Guest::kCode + 3, guest.cpu.state().rip);
  equal("AX", 2, guest.cpu.state().gpr[RAX]);
  check(!guest.cpu.state().interruptShadow, "shadow is over");
  equal("again, at entry", ExitKind::InterruptWindow, guest.cpu.run(100).kind);
  equal("AX", 2, guest.cpu.state().gpr[RAX]);

  test = "an injected interrupt comes before the window and the first instruction";
  guest.write<uint32_t>(4 * 0x30, 0x5000);
  guest.memory.bytes()[0x5000] = 0xcf;  // iret
  guest.cpu.controls().inject = {EventKind::ExternalInterrupt, 0x30, false, 0, 0};
  equal("exit", ExitKind::InterruptWindow, guest.cpu.run(100).kind);  // after the IRET has set IF
  equal("RIP", Guest::kCode + 3, guest.cpu.state().rip);
  guest.cpu.controls().interruptWindow = false;
  equal("exit", ExitKind::Halt, guest.cpu.run(100).kind);
  equal("AX", 3, guest.cpu.state().gpr[RAX]);
}

void singleStep() {
  test = "TF traps after each instruction";
  Guest guest(Start::Real);
  const uint8_t code[] = {0x40, 0x40, 0x90, 0xf4};  // inc ax; inc ax; nop; hlt
  const uint8_t handler[] = {0x43, 0xcf};           // inc bx; iret
  guest.load(code, sizeof(code));
  guest.load(handler, sizeof(handler), 0x5000);
  guest.write<uint32_t>(4, 0x5000);
  guest.cpu.state().rflags |= kTF;
  equal("exit", ExitKind::Halt, guest.cpu.run(100).kind);
  equal("AX", 2, guest.cpu.state().gpr[RAX]);
  equal("traps", 3, guest.cpu.state().gpr[RBX]);
  equal("DR6.BS", 1, guest.cpu.state().dr6 >> 14 & 1);
}

void unmapped() {
  test = "an access to unmapped memory changes nothing, and tells the instruction";
  Guest guest(Start::Long);
  const uint8_t code[] = {0xbf, 0x00, 0x00, 0x00, 0x01, 0xff, 0x47, 0x08, 0xf4};  // mov edi, 16 MiB; inc dword [rdi+8]
  guest.load(code, sizeof(code));
  const Exit& exit = guest.cpu.run(100);
  equal("exit", ExitKind::Memory, exit.kind);
  equal("gpa", 0x1000008, exit.memory.gpa);
  equal("access", Fault::Write, exit.memory.access);
  equal("RIP", Guest::kCode + 5, guest.cpu.state().rip);
  check(exit.memory.length >= 3 && exit.memory.bytes[0] == 0xff && exit.memory.bytes[1] == 0x47, "bytes");
  equal("instructions", 1, guest.cpu.instructions());
}

// Random bytes in every mode: nothing may crash or hang.
void noise() {
  test = "noise";
  uint64_t random = 1;
  for (int i = 0; i < 400; ++i) {
    Guest guest(static_cast<Start>(i & 3), i & 4 ? Vendor::Intel : Vendor::Amd);
    for (unsigned k = 0; k < 0x2000; ++k) {
      random = random * 6364136223846793005 + 1442695040888963407;
      guest.memory.bytes()[Guest::kCode + k] = static_cast<uint8_t>(random >> 33);
    }
    for (int runs = 0; runs < 20; ++runs) {
      const Exit& exit = guest.cpu.run(1000);
      if (exit.kind == ExitKind::Shutdown || exit.kind == ExitKind::InvalidState) break;
      if (exit.kind != ExitKind::Budget) guest.cpu.state().rip += 1;
    }
  }
  check(true, "survived");
}

}  // namespace

int main() {
  programs();
  budget();
  timeStamps();
  interruption();
  atomicity();
  changedCode();
  crossing();
  exceptions();
  windows();
  singleStep();
  unmapped();
  noise();
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures != 0;
}
