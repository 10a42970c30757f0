// SPDX-License-Identifier: BSD-3-Clause
// From the boot protocol's entry to main() in long mode, and whatever else no C++ can say: page
// tables, descriptors, interrupt entries, the way to ring 3 and back, the other CPUs' first steps.

#define CODE32 0x08
#define CODE64 0x10
#define DATA 0x18
#define USER_DATA (0x20 | 3)
#define USER_CODE (0x28 | 3)
#define TASK 0x30

#define TRAMPOLINE 0x8000 /* cpu.cc knows it, too */
#define END_OF_INTERRUPT 0xfee000b0

#define EFER 0xc0000080

#ifdef STRAIT_GUEST_PVH
    .section .note.pvh, "a", @note
    .balign 4
    .long 4, 4, 18 // the name's bytes, the value's, XEN_ELFNOTE_PHYS32_ENTRY
    .asciz "Xen"
    .long pvh_start
#endif

    .text
// PVH: 32 bits, flat segments, no paging; EBX is struct hvm_start_info.
    .code32
    .globl pvh_start
pvh_start:
    cli
    cld
    movl $1, boot_by_pvh
    movl %ebx, boot_argument
    movl $first_cpu, %ebp
    jmp to_long_mode

// The same of another CPU, which the trampoline has brought so far.
other_cpu_protected:
    movl $other_cpu, %ebp
    movl $DATA, %eax
    movl %eax, %ds // real mode's ends at 64 KiB

to_long_mode:
    lgdt descriptor_table_pointer
    movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    movl $0x620, %eax // PAE, and SSE for ring 3
    movl %eax, %cr4
    movl $page_map, %eax
    movl %eax, %cr3
    movl $EFER, %ecx
    rdmsr
    orl $0x100, %eax // long mode
    wrmsr
    movl %cr0, %eax
    andl $0x9ffffff3, %eax // caches on, the floating-point unit there
    orl $0x80000002, %eax
    movl %eax, %cr0
    ljmp $CODE64, $in_long_mode

    .code64
in_long_mode:
    movl %ebp, %ebp
    jmp *%rbp

// Linux's 64-bit boot protocol: RSI is struct boot_params. Paging is on, with tables that end soon.
    .globl linux_start
linux_start:
    cli
    cld
    movl %esi, boot_argument
    lgdt descriptor_table_pointer
    movl $0x620, %eax
    movq %rax, %cr4
    movl $page_map, %eax
    movq %rax, %cr3
    movl $DATA, %eax
    movl %eax, %ds
    movl %eax, %es
    movl %eax, %ss
    ljmpl *first_cpu_pointer

first_cpu:
    movl $first_stack_end, %esp
    movl $task_state, %eax
    movw %ax, task_descriptor + 2
    shrl $16, %eax
    movb %al, task_descriptor + 4
    movb %ah, task_descriptor + 7
    movl $TASK, %eax
    ltr %ax
    xorl %ebp, %ebp
    call guest_main
    ud2

other_cpu:
    lock incl other_cpus
1:  cli
    hlt
    jmp 1b

// Copied below 1 MiB: there a CPU begins in real mode, at the address that the SIPI gave.
    .code16
    .globl trampoline, trampoline_end
trampoline:
    cli
    xorw %ax, %ax
    movw %ax, %ds
    lgdtl TRAMPOLINE + trampoline_pointer - trampoline
    movl %cr0, %eax
    orb $1, %al
    movl %eax, %cr0
    ljmpl $CODE32, $other_cpu_protected
    .balign 4
trampoline_pointer:
    .word descriptor_table_end - descriptor_table - 1
    .long descriptor_table
trampoline_end:

    .code64
// std::uint64_t call_in_ring_3(function, argument): on a stack of its own, interrupts off. The way
// back is an exception, which any KVM delivers: one without hardware virtualisation has neither
// syscall nor a gate for int.
    .globl call_in_ring_3
call_in_ring_3:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, task_state + 4 // where an interrupt in ring 3 begins to push
    pushq $USER_DATA
    pushq $user_stack_end
    pushq $2
    pushq $USER_CODE
    pushq $in_ring_3
    iretq
in_ring_3:
    movq %rdi, %rax
    movq %rsi, %rdi
    call *%rax
leaving_ring_3:
    ud2

from_ring_3:
    movq task_state + 4, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret

// One entry of 16 bytes a vector. Exceptions end in fault(), which does not come back; interrupts
// are counted and no more, in as few instructions as can be: in ring 0 each is emulated.
    .globl interrupt_entries
    .balign 16
interrupt_entries:
    .set vector, 0
    .rept 32
    .balign 16
    .set has_error, vector == 8 || (vector >= 10 && vector <= 14) || vector == 17
    .set has_error, has_error || vector == 21 || vector == 29 || vector == 30
    .if !has_error
    pushq $0 // where others have an error code
    .endif
    pushq $vector
    jmp exception
    .set vector, vector + 1
    .endr
    .rept 224
    .balign 16
    pushq %rax
    movl $vector, %eax
    jmp interrupt
    .set vector, vector + 1
    .endr

exception:
    cmpq $leaving_ring_3, 16(%rsp)
    je from_ring_3
    movq %rsp, %rdi
    andq $-16, %rsp
    call fault
    ud2

interrupt:
    incl interrupt_counts(,%rax,4)
    movl $END_OF_INTERRUPT, %eax
    movl $0, (%rax)
    popq %rax
    iretq

    .data
    .balign 8
descriptor_table:
    .quad 0
    .quad 0x00cf9b000000ffff
    .quad 0x00af9b000000ffff
    .quad 0x00cf93000000ffff
    .quad 0x00cff3000000ffff
    .quad 0x00affb000000ffff
task_descriptor:
    .quad 0x0000890000000000 + task_state_end - task_state - 1, 0
descriptor_table_end:

descriptor_table_pointer:
    .word descriptor_table_end - descriptor_table - 1
    .quad descriptor_table
    .balign 4
first_cpu_pointer:
    .long first_cpu
    .word CODE64

    .balign 16
task_state: // at 4 the stack of ring 0; no I/O permission map
    .zero 102
    .word task_state_end - task_state
task_state_end:

    .globl boot_by_pvh, boot_argument, other_cpus
boot_by_pvh:
    .long 0
boot_argument:
    .quad 0
other_cpus:
    .long 0

// The first 8 GiB one to one, for ring 3, too, by 2 MiB; devices' registers (platform.hh) uncached.
// The 1 GiB after that is devices' that lie elsewhere (cpu.cc).
#define TABLE 0x67
#define LARGE 0xe7
#define UNCACHED 0x18
    .balign 4096
page_map:
    .quad page_map_1 + TABLE
    .zero 8 * 511
page_map_1:
    .set table, 0
    .rept 9
    .quad page_map_2 + table + TABLE
    .set table, table + 4096
    .endr
    .zero 8 * (512 - 9)
page_map_2:
    .set address, LARGE
    .rept 3 * 512
    .quad address
    .set address, address + 0x200000
    .endr
    .rept 512
    .quad address + UNCACHED
    .set address, address + 0x200000
    .endr
    .rept 4 * 512
    .quad address
    .set address, address + 0x200000
    .endr
    .globl window_entries
window_entries:
    .zero 8 * 512

    .bss
    .globl interrupt_counts
    .balign 16
interrupt_counts:
    .zero 4 * 256
    .zero 64 * 1024
first_stack_end:
    .zero 64 * 1024
user_stack_end:

    .section .note.GNU-stack, "", @progbits
