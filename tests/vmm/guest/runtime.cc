// SPDX-License-Identifier: BSD-3-Clause
// The functions that compilers call without being asked to.

#include <cstddef>
#include <cstdint>

extern "C" {

void* memcpy(void* to, const void* from, std::size_t count) noexcept;
void* memmove(void* to, const void* from, std::size_t count) noexcept;
void* memset(void* to, int value, std::size_t count) noexcept;
int memcmp(const void* a, const void* b, std::size_t count) noexcept;
const void* memchr(const void* in, int what, std::size_t count) noexcept;
std::size_t strlen(const char* text) noexcept;

void* memcpy(void* to, const void* from, std::size_t count) noexcept
{
    void* const result = to;
    asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
    return result;
}

void* memmove(void* to, const void* from, std::size_t count) noexcept
{
    if (reinterpret_cast<std::uintptr_t>(to) - reinterpret_cast<std::uintptr_t>(from) >= count) {
        return memcpy(to, from, count);
    }
    for (auto* const bytes = static_cast<volatile std::byte*>(to); count > 0; --count) {
        bytes[count - 1] = static_cast<const std::byte*>(from)[count - 1];
    }
    return to;
}

void* memset(void* to, int value, std::size_t count) noexcept
{
    void* const result = to;
    asm volatile("rep stosb" : "+D"(to), "+c"(count) : "a"(value) : "memory");
    return result;
}

int memcmp(const void* a, const void* b, std::size_t count) noexcept
{
    const auto* const left = static_cast<const unsigned char*>(a);
    const auto* const right = static_cast<const unsigned char*>(b);
    for (std::size_t i = 0; i < count; ++i) {
        if (left[i] != right[i]) {
            return left[i] < right[i] ? -1 : 1;
        }
    }
    return 0;
}

const void* memchr(const void* in, int what, std::size_t count) noexcept
{
    const auto* at = static_cast<const unsigned char*>(in);
    for (; count > 0; --count, ++at) {
        if (*at == static_cast<unsigned char>(what)) {
            return at;
        }
    }
    return nullptr;
}

std::size_t strlen(const char* text) noexcept
{
    std::size_t length = 0;
    // Volatile, or the compiler makes a call of strlen() of it.
    while (static_cast<const volatile char*>(text)[length] != '\0') {
        ++length;
    }
    return length;
}

} // extern "C"
