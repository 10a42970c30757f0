// SPDX-License-Identifier: BSD-3-Clause
// One handle for grants: its copies take no lock. One for each event channel: the kernel's driver
// holds a mutex of the handle through every call, and what binds one channel may wait. Each is read
// without waiting.
#include "ports/xen-netback/libxen.hh"

#include "ports/number.hh"

#include <cerrno>
#include <cstdarg>
#include <cstdlib>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
#include <xentoollog.h>
}

namespace strait::xen {

namespace {

using dataplane::remote_copy;
using ports::error;

// A batch goes to the library as it is.
static_assert(sizeof(remote_copy) == sizeof(xengnttab_grant_copy_segment_t));
static_assert(alignof(remote_copy) == alignof(xengnttab_grant_copy_segment_t));
static_assert(offsetof(xengnttab_grant_copy_segment_t, dest) == sizeof(remote_copy::side));
static_assert(offsetof(xengnttab_grant_copy_segment_t, len) == 2 * sizeof(remote_copy::side));
static_assert(offsetof(xengnttab_grant_copy_segment_t, flags) == 2 * sizeof(remote_copy::side) + 2);
static_assert(offsetof(xengnttab_grant_copy_segment_t, status) ==
              2 * sizeof(remote_copy::side) + 4);
static_assert(remote_copy::source_granted == GNTCOPY_source_gref &&
              remote_copy::target_granted == GNTCOPY_dest_gref);

std::string why()
{
    return std::strerror(errno);
}

// The libraries log what they also report, and a guest can make them fail as often as it likes.
xentoollog_logger silence{
    .vmessage = [](xentoollog_logger* /*self*/, xentoollog_level /*level*/, int /*code*/,
                   const char* /*context*/, const char* /*format*/, va_list /*values*/) {},
    .progress = [](xentoollog_logger* /*self*/, const char* /*context*/, const char* /*what*/,
                   int /*percent*/, unsigned long /*done*/, unsigned long /*all*/) {},
    .destroy = [](xentoollog_logger* /*self*/) {}};

template <auto Close>
struct closer {
    template <typename T>
    void operator()(T* handle) const noexcept
    {
        Close(handle);
    }
};
using grant_handle = std::unique_ptr<xengnttab_handle, closer<xengnttab_close>>;
using channel_handle = std::unique_ptr<xenevtchn_handle, closer<xenevtchn_close>>;
using store_handle = std::unique_ptr<xs_handle, closer<xs_close>>;
using c_memory = std::unique_ptr<void, closer<std::free>>;

class mapped_pages final : public mapped_grants {
public:
    mapped_pages(xengnttab_handle* handle, void* base, std::uint32_t pages) noexcept
        : handle_{handle}, base_{base}, pages_{pages}
    {}
    mapped_pages(const mapped_pages&) = delete;
    mapped_pages& operator=(const mapped_pages&) = delete;
    ~mapped_pages() override { (void)xengnttab_unmap(handle_, base_, pages_); }
    [[nodiscard]] void* base() const noexcept override { return base_; }

private:
    xengnttab_handle* const handle_;
    void* const base_;
    const std::uint32_t pages_;
};

class channel final : public event_channel {
public:
    channel(channel_handle handle, evtchn_port_t port) noexcept
        : handle_{std::move(handle)}, port_{port}
    {}
    void notify() noexcept override { (void)xenevtchn_notify(handle_.get(), port_); }
    [[nodiscard]] int descriptor() const noexcept override { return xenevtchn_fd(handle_.get()); }
    // One look: whoever notifies without end is looked at again, not waited for. The channel stays
    // masked from its notification until this has seen it.
    [[nodiscard]] bool take() noexcept override
    {
        const auto port = xenevtchn_pending(handle_.get());
        if (port < 0) {
            return false;
        }
        (void)xenevtchn_unmask(handle_.get(), static_cast<evtchn_port_t>(port));
        return true;
    }

private:
    const channel_handle handle_;
    const evtchn_port_t port_;
};

class xenstore final : public xen::store {
public:
    explicit xenstore(store_handle handle) noexcept : handle_{std::move(handle)} {}

    result<std::optional<std::string>> read(const std::string& path, transaction t) override
    {
        unsigned size = 0;
        const c_memory value{xs_read(handle_.get(), id(t), path.c_str(), &size)};
        if (!value) {
            return absent<std::string>("read", path);
        }
        return std::optional{std::string{static_cast<const char*>(value.get()), size}};
    }
    result<std::optional<std::vector<std::string>>> list(const std::string& path,
                                                         transaction t) override
    {
        unsigned count = 0;
        const c_memory names{
            static_cast<void*>(xs_directory(handle_.get(), id(t), path.c_str(), &count))};
        if (!names) {
            return absent<std::vector<std::string>>("list", path);
        }
        const auto* const first = static_cast<const char* const*>(names.get());
        return std::optional{std::vector<std::string>(first, first + count)};
    }
    result<void> write(const std::string& path, std::string_view value, transaction t) override
    {
        return checked(xs_write(handle_.get(), id(t), path.c_str(), value.data(),
                                static_cast<unsigned>(value.size())),
                       "write", path);
    }
    result<void> remove(const std::string& path, transaction t) override
    {
        const bool removed = xs_rm(handle_.get(), id(t), path.c_str());
        return checked(removed || errno == ENOENT, "remove", path);
    }
    result<transaction> begin() override
    {
        const xs_transaction_t t = xs_transaction_start(handle_.get());
        if (t == XBT_NULL) {
            return error{"xenstore begins no transaction: " + why()};
        }
        return transaction{t};
    }
    result<bool> commit(transaction t) override
    {
        if (xs_transaction_end(handle_.get(), id(t), false)) {
            return true;
        }
        if (errno == EAGAIN) {
            return false;
        }
        return error{"xenstore does not commit: " + why()};
    }
    void abandon(transaction t) noexcept override
    {
        (void)xs_transaction_end(handle_.get(), id(t), true);
    }
    result<void> watch(const std::string& path, const std::string& token) override
    {
        return checked(xs_watch(handle_.get(), path.c_str(), token.c_str()), "watch", path);
    }
    void unwatch(const std::string& path, const std::string& token) noexcept override
    {
        (void)xs_unwatch(handle_.get(), path.c_str(), token.c_str());
    }
    [[nodiscard]] int descriptor() const noexcept override { return xs_fileno(handle_.get()); }
    [[nodiscard]] std::optional<watch_event> next_event() override
    {
        const c_memory event{static_cast<void*>(xs_check_watch(handle_.get()))};
        if (!event) {
            return std::nullopt;
        }
        const auto* const words = static_cast<const char* const*>(event.get());
        return watch_event{.path = words[XS_WATCH_PATH], .token = words[XS_WATCH_TOKEN]};
    }

private:
    [[nodiscard]] static xs_transaction_t id(transaction t) noexcept
    {
        return static_cast<xs_transaction_t>(t);
    }
    static std::string failed(const char* what, const std::string& path)
    {
        return std::string{"xenstore cannot "} + what + " " + path + ": " + why();
    }
    static result<void> checked(bool good, const char* what, const std::string& path)
    {
        if (!good) {
            return error{failed(what, path)};
        }
        return {};
    }
    template <typename T>
    static result<std::optional<T>> absent(const char* what, const std::string& path)
    {
        if (errno == ENOENT || errno == EACCES) {
            return std::optional<T>{};
        }
        return error{failed(what, path)};
    }

    const store_handle handle_;
};

class libxen final : public hypervisor {
public:
    libxen(grant_handle grants, store_handle store, domain_id own) noexcept
        : grants_{std::move(grants)}, store_{std::move(store)}, own_{own}
    {}

    [[nodiscard]] std::string_view name() const noexcept override { return "libxen"; }
    [[nodiscard]] domain_id own_domain() const noexcept override { return own_; }
    [[nodiscard]] result<std::unique_ptr<mapped_grants>>
    map(domain_id domain, std::span<const grant_ref> pages) override;
    [[nodiscard]] result<std::unique_ptr<event_channel>> bind(domain_id domain,
                                                              event_port port) override;
    [[nodiscard]] xen::store& store() noexcept override { return store_; }
    void copy(std::span<remote_copy> pieces) noexcept override;

private:
    const grant_handle grants_;
    xenstore store_;
    const domain_id own_;
};

std::string name_of(domain_id d)
{
    return "domain " + std::to_string(static_cast<unsigned>(d));
}

result<std::unique_ptr<mapped_grants>> libxen::map(domain_id domain,
                                                   std::span<const grant_ref> pages)
{
    std::vector<std::uint32_t> refs;
    for (const grant_ref r : pages) {
        refs.push_back(static_cast<std::uint32_t>(r));
    }
    if (refs.empty()) {
        return error{"no grant was named to be mapped"};
    }
    const auto count = static_cast<std::uint32_t>(refs.size());
    void* const base =
        xengnttab_map_domain_grant_refs(grants_.get(), count, static_cast<std::uint16_t>(domain),
                                        refs.data(), PROT_READ | PROT_WRITE);
    if (base == nullptr) {
        return error{"grant " + std::to_string(refs.front()) + " of " + name_of(domain) +
                     (count > 1 ? " (or one with it)" : "") + " cannot be mapped: " + why()};
    }
    return std::make_unique<mapped_pages>(grants_.get(), base, count);
}

result<std::unique_ptr<event_channel>> libxen::bind(domain_id domain, event_port port)
{
    channel_handle handle{xenevtchn_open(&silence, 0)};
    if (!handle) {
        return error{"/dev/xen/evtchn cannot be opened: " + why()};
    }
    const int fd = xenevtchn_fd(handle.get());
    const int flags = ::fcntl(fd, F_GETFL);
    if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) {
        return error{"/dev/xen/evtchn cannot be read without waiting: " + why()};
    }
    const auto local = xenevtchn_bind_interdomain(handle.get(), static_cast<std::uint16_t>(domain),
                                                  static_cast<std::uint32_t>(port));
    if (local < 0) {
        return error{"event channel " + std::to_string(static_cast<std::uint32_t>(port)) + " of " +
                     name_of(domain) + " cannot be bound: " + why()};
    }
    return std::make_unique<channel>(std::move(handle), static_cast<evtchn_port_t>(local));
}

// One system call, usually. What waits for pages to come back (GNTST_eagain) is the kernel, for a
// bounded time, and only where the host pages its guests. A piece that the kernel itself refuses (a
// range that leaves its page, memory of ours that is a guest's, and gone) ends the call, and those
// that it had queued look done, but are not: all are done again, in halves, until it is alone.
void copy_all(xengnttab_handle* grants, std::span<remote_copy> pieces) noexcept
{
    if (pieces.empty() ||
        xengnttab_grant_copy(grants, static_cast<std::uint32_t>(pieces.size()),
                             reinterpret_cast<xengnttab_grant_copy_segment_t*>(pieces.data())) == 0)
        [[likely]] {
        return;
    }
    if (pieces.size() == 1) {
        pieces.front().set_result(errno == EINVAL ? remote_copy::status::bad_argument
                                                  : remote_copy::status::bad_page);
        return;
    }
    const std::size_t half = pieces.size() / 2;
    copy_all(grants, pieces.first(half));
    copy_all(grants, pieces.subspan(half));
}

void libxen::copy(std::span<remote_copy> pieces) noexcept
{
    copy_all(grants_.get(), pieces);
}

} // namespace

bool runs_on_xen() noexcept
{
    return ::access("/dev/xen/gntdev", F_OK) == 0 && ::access("/dev/xen/evtchn", F_OK) == 0 &&
           ::access("/dev/xen/xenbus", F_OK) == 0;
}

result<std::unique_ptr<hypervisor>> open_libxen()
{
    grant_handle grants{xengnttab_open(&silence, 0)};
    if (!grants) {
        return error{"/dev/xen/gntdev cannot be opened: " + why()};
    }
    store_handle store{xs_open(0)};
    if (!store) {
        return error{"xenstore cannot be reached: " + why() + "; is xenstored running?"};
    }
    unsigned size = 0;
    const c_memory own{xs_read(store.get(), XBT_NULL, "domid", &size)};
    std::uint16_t id = 0; // domain 0 may have no such node
    if (own) {
        const std::string_view text{static_cast<const char*>(own.get()), size};
        const auto number = to_number<std::uint16_t>(text);
        if (!number) {
            return error{"xenstore's node \"domid\" must be this domain's number; it is \"" +
                         std::string{text} + "\""};
        }
        id = *number;
    } else if (errno != ENOENT) {
        return error{"xenstore's node \"domid\", this domain's number, cannot be read: " + why()};
    }
    return std::make_unique<libxen>(std::move(grants), std::move(store), domain_id{id});
}

} // namespace strait::xen
