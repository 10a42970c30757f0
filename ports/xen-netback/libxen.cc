// SPDX-License-Identifier: BSD-3-Clause
// One handle for grants: its copies take no lock. One for each event channel: the kernel's driver
// holds a mutex of the handle through every call, and what binds one channel may wait.
#include "ports/xen-netback/libxen.hh"

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>
#include <utility>

extern "C" {
#include <xenevtchn.h>
#include <xengnttab.h>
#include <xenstore.h>
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
    [[nodiscard]] bool take() noexcept override
    {
        bool any = false;
        pollfd ready{.fd = descriptor(), .events = POLLIN, .revents = 0};
        // At most a few: the channel stays masked until it was read.
        while (::poll(&ready, 1, 0) == 1 && (ready.revents & POLLIN) != 0) {
            const auto port = xenevtchn_pending(handle_.get());
            if (port < 0) {
                break;
            }
            any = true;
            (void)xenevtchn_unmask(handle_.get(), static_cast<evtchn_port_t>(port));
        }
        return any;
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
    [[nodiscard]] bool issue(std::span<remote_copy> pieces) noexcept
    {
        return xengnttab_grant_copy(
                   grants_.get(), static_cast<std::uint32_t>(pieces.size()),
                   reinterpret_cast<xengnttab_grant_copy_segment_t*>(pieces.data())) == 0;
    }

    const grant_handle grants_;
    xenstore store_;
    const domain_id own_;
};

result<std::unique_ptr<mapped_grants>> libxen::map(domain_id domain,
                                                   std::span<const grant_ref> pages)
{
    const std::vector<std::uint32_t> refs = [&] {
        std::vector<std::uint32_t> list;
        for (const grant_ref r : pages) {
            list.push_back(static_cast<std::uint32_t>(r));
        }
        return list;
    }();
    const auto count = static_cast<std::uint32_t>(refs.size());
    // The library takes the references as not to be changed, but does not say so.
    void* const base = xengnttab_map_domain_grant_refs(
        grants_.get(), count, static_cast<std::uint16_t>(domain),
        const_cast<std::uint32_t*>(refs.data()), PROT_READ | PROT_WRITE);
    if (base == nullptr) {
        return error{"grant " + std::to_string(refs.front()) + " of domain " +
                     std::to_string(static_cast<unsigned>(domain)) +
                     (count > 1 ? " (or one with it)" : "") + " cannot be mapped: " + why()};
    }
    return std::make_unique<mapped_pages>(grants_.get(), base, count);
}

result<std::unique_ptr<event_channel>> libxen::bind(domain_id domain, event_port port)
{
    channel_handle handle{xenevtchn_open(nullptr, 0)};
    if (!handle) {
        return error{"/dev/xen/evtchn cannot be opened: " + why()};
    }
    const auto local = xenevtchn_bind_interdomain(handle.get(), static_cast<std::uint16_t>(domain),
                                                  static_cast<std::uint32_t>(port));
    if (local < 0) {
        return error{"port " + std::to_string(static_cast<std::uint32_t>(port)) + " of domain " +
                     std::to_string(static_cast<unsigned>(domain)) + ": " + why()};
    }
    return std::make_unique<channel>(std::move(handle), static_cast<evtchn_port_t>(local));
}

void libxen::copy(std::span<remote_copy> pieces) noexcept
{
    for (remote_copy& c : pieces) {
        c.set_result(remote_copy::status::general_error);
    }
    if (pieces.empty() || issue(pieces)) [[likely]] {
        return;
    }
    // One that the kernel itself refuses (memory of ours that is a guest's, and gone) ends the
    // batch: the others must not suffer by it.
    for (remote_copy& c : pieces) {
        if (!c.done() && !issue({&c, 1})) {
            c.set_result(remote_copy::status::bad_page);
        }
    }
}

} // namespace

bool runs_on_xen() noexcept
{
    return ::access("/dev/xen/gntdev", F_OK) == 0 && ::access("/dev/xen/evtchn", F_OK) == 0 &&
           ::access("/dev/xen/xenbus", F_OK) == 0;
}

result<std::unique_ptr<hypervisor>> open_libxen()
{
    grant_handle grants{xengnttab_open(nullptr, 0)};
    if (!grants) {
        return error{"/dev/xen/gntdev cannot be opened: " + why()};
    }
    store_handle store{xs_open(0)};
    if (!store) {
        return error{"xenstore cannot be reached: " + why() + "; is xenstored running?"};
    }
    unsigned size = 0;
    const c_memory own{xs_read(store.get(), XBT_NULL, "domid", &size)};
    const unsigned long id =
        own ? std::strtoul(static_cast<const char*>(own.get()), nullptr, 10) : 0; // dom0: no node
    return std::make_unique<libxen>(std::move(grants), std::move(store),
                                    domain_id{static_cast<std::uint16_t>(id)});
}

} // namespace strait::xen
