// SPDX-License-Identifier: BSD-3-Clause
// Grants, and the mapping of domains' memory.
#include "ports/xen-netback/simulated/domain_memory.hh"

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <map>
#include <mutex>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace strait::xen::simulated {

namespace {

constexpr std::uint64_t magic = 0x7374'7261'6974'7801;
constexpr int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
// Only a guest that writes the entry without end can make an exchange fail this often.
constexpr int most_tries = 64;

error failed(const char* what)
{
    return {std::string{"the memory of a simulated domain cannot be "} + what + ": " +
            std::strerror(errno)};
}

#ifdef STRAIT_MUTATE_GUEST
// Test builds change what was read of a guest's memory, if they know it for that.
std::mutex guests_mutex;
std::map<const void*, dataplane::guest_range_registration> guests;
std::atomic<bool> lost; // of sealed files nothing is

void note_guest(void* base, std::size_t size)
{
    const std::scoped_lock lock{guests_mutex};
    guests.emplace(base, dataplane::guest_range_registration{base, size, lost});
}
void forget_guest(const void* base)
{
    const std::scoped_lock lock{guests_mutex};
    guests.erase(base);
}
#else
void note_guest(void* /*base*/, std::size_t /*size*/) {}
void forget_guest(const void* /*base*/) {}
#endif

} // namespace

std::string to_string(grant_status s)
{
    const char* name = "unknown";
    switch (s) {
    case grant_status::done:
        name = "done";
        break;
    case grant_status::general_error:
        name = "general_error";
        break;
    case grant_status::bad_domain:
        name = "bad_domain";
        break;
    case grant_status::bad_reference:
        name = "bad_reference";
        break;
    case grant_status::permission_denied:
        name = "permission_denied";
        break;
    case grant_status::bad_page:
        name = "bad_page";
        break;
    case grant_status::bad_argument:
        name = "bad_argument";
        break;
    case grant_status::again:
        name = "again";
        break;
    case grant_status::no_space:
        name = "no_space";
        break;
    }
    return std::string{name} + " (" + std::to_string(static_cast<int>(s)) + ")";
}

bool memory_layout::valid() const noexcept
{
    return grants >= 512 && grants <= 32'768 && grants % 512 == 0 && pages >= 1 &&
           pages <= (1U << 20U);
}

domain_memory::domain_memory(file_descriptor file, memory_layout layout, std::byte* base) noexcept
    : file_{std::move(file)}, layout_{layout}, base_{base}, header_{base}, table_{base + page_size}
{}

domain_memory::domain_memory(domain_memory&& other) noexcept
    : file_{std::move(other.file_)},
      layout_{other.layout_},
      base_{std::exchange(other.base_, nullptr)},
      header_{other.header_},
      table_{other.table_}
{}

domain_memory::~domain_memory()
{
    if (base_ != nullptr) {
        forget_guest(base_);
        ::munmap(base_, layout_.size());
    }
}

result<domain_memory> domain_memory::make(domain_id domain, memory_layout layout)
{
    if (!layout.valid()) {
        return error{"a simulated domain has 512 to 32768 grants, a multiple of 512, and 1 to "
                     "1048576 pages; " +
                     std::to_string(layout.grants) + " and " + std::to_string(layout.pages) +
                     " were asked for"};
    }
    const std::string name = "xen-domain-" + std::to_string(static_cast<unsigned>(domain));
    file_descriptor file{::memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING)};
    if (!file || ::ftruncate(file.get(), static_cast<off_t>(layout.size())) != 0 ||
        ::fcntl(file.get(), F_ADD_SEALS, seals) != 0) {
        return failed("made");
    }
    auto memory = map(std::move(file), layout);
    if (memory.has_value()) {
        memory->header_.store(0, magic);
        memory->header_.store(1, static_cast<std::uint64_t>(domain));
        memory->header_.store_release(alive_index, 1);
    }
    return memory;
}

result<domain_memory> domain_memory::map(file_descriptor file, memory_layout layout)
{
    struct stat status {};
    const int have = ::fcntl(file.get(), F_GET_SEALS);
    if (!layout.valid() || have < 0 || (have & seals) != seals ||
        ::fstat(file.get(), &status) != 0 ||
        static_cast<std::size_t>(status.st_size) != layout.size()) {
        return error{"the memory of a simulated domain is not the sealed file it must be"};
    }
    void* const at =
        ::mmap(nullptr, layout.size(), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
    if (at == MAP_FAILED) {
        return failed("mapped");
    }
    note_guest(at, layout.size());
    return domain_memory{std::move(file), layout, static_cast<std::byte*>(at)};
}

domain_memory::claimed domain_memory::claim(domain_id by, std::uint32_t reference,
                                            bool write) const noexcept
{
    if (reference >= layout_.grants) {
        return {grant_status::bad_reference, 0};
    }
    std::uint64_t entry = table_.load_acquire(reference);
    for (int i = 0; i < most_tries; ++i) {
        if ((entry & grant_entry::type_mask) != grant_entry::permit_access ||
            grant_entry::domain(entry) != by || (write && (entry & grant_entry::read_only) != 0)) {
            return {grant_status::general_error, 0};
        }
        const std::uint32_t frame = grant_entry::frame(entry);
        if (frame < layout_.first_page() || frame >= layout_.end()) {
            return {grant_status::bad_page, 0};
        }
        if (grant_entry::uses(entry) == grant_entry::uses(grant_entry::uses_mask)) {
            return {grant_status::general_error, 0}; // Xen's own counters are at 255 then
        }
        const std::uint64_t used = (entry + grant_entry::one_use) | grant_entry::reading |
                                   (write ? grant_entry::writing : 0);
        // What was checked is what is replaced: all of it is one word.
        if (table_.compare_exchange(reference, entry, used)) {
            return {grant_status::done, frame};
        }
    }
    return {grant_status::general_error, 0};
}

void domain_memory::release(std::uint32_t reference) const noexcept
{
    std::uint64_t entry = table_.load_acquire(reference);
    for (int i = 0; i < most_tries && grant_entry::uses(entry) != 0; ++i) {
        std::uint64_t next = entry - grant_entry::one_use;
        if (grant_entry::uses(next) == 0) {
            next &= ~(grant_entry::reading | grant_entry::writing);
        }
        if (table_.compare_exchange(reference, entry, next)) {
            return;
        }
    }
}

void domain_memory::grant(std::uint32_t reference, domain_id to, std::uint32_t frame,
                          bool only_read) const noexcept
{
    table_.store_release(reference, grant_entry::make(to, frame, only_read));
}

bool domain_memory::revoke(std::uint32_t reference) const noexcept
{
    std::uint64_t entry = table_.load_acquire(reference);
    for (int i = 0; i < most_tries; ++i) {
        if ((entry & (grant_entry::reading | grant_entry::writing)) != 0) {
            return false;
        }
        if (table_.compare_exchange(reference, entry, 0)) {
            return true;
        }
    }
    return false;
}

void domain_memory::correct_uses(std::uint32_t reference, domain_id by,
                                 std::uint32_t uses) const noexcept
{
    std::uint64_t entry = table_.load_acquire(reference);
    for (int i = 0; i < most_tries; ++i) {
        if (grant_entry::domain(entry) != by || grant_entry::uses(entry) <= uses) {
            return;
        }
        std::uint64_t next = (entry & ~grant_entry::uses_mask) | (uses * grant_entry::one_use);
        if (uses == 0) {
            next &= ~(grant_entry::reading | grant_entry::writing);
        }
        if (table_.compare_exchange(reference, entry, next)) {
            return;
        }
    }
}

result<page_mapping> page_mapping::make(const domain_memory& of,
                                        std::span<const std::uint32_t> frames)
{
    const std::size_t size = frames.size() * page_size;
    // Room for all of them first, so that they come to lie side by side.
    void* const base = ::mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) {
        return failed("mapped");
    }
    page_mapping mapping{base, size};
    for (std::size_t i = 0; i < frames.size(); ++i) {
        if (::mmap(static_cast<std::byte*>(base) + i * page_size, page_size, PROT_READ | PROT_WRITE,
                   MAP_SHARED | MAP_FIXED, of.descriptor(),
                   static_cast<off_t>(frames[i] * page_size)) == MAP_FAILED) {
            return failed("mapped");
        }
    }
    note_guest(base, size);
    return mapping;
}

page_mapping::~page_mapping()
{
    if (base_ != nullptr) {
        forget_guest(base_);
        ::munmap(base_, size_);
    }
}

} // namespace strait::xen::simulated
