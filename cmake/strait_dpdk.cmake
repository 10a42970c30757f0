# SPDX-License-Identifier: BSD-3-Clause
# The targets strait_dpdk (EAL, the libraries and the drivers of virtual devices that Strait uses),
# strait_dpdk_virtio (the same and the virtio driver, for a test that is a guest by it) and
# strait_dpdk_nics (the same and drivers of PCI devices, AF_XDP and memif, for straitd).
#
# DPDK is linked statically, with what is named here only: a program linked with the shared
# libraries loads every driver in the distribution's plug-in folder when EAL starts, 100 MB of
# them, and takes their start-up time.

set(STRAIT_DPDK_MINIMUM "22.11.11")

find_package(PkgConfig REQUIRED)
pkg_check_modules(STRAIT_DPDK QUIET libdpdk-libs)
if(NOT STRAIT_DPDK_FOUND)
    message(FATAL_ERROR "DPDK was not found: Strait needs DPDK ${STRAIT_DPDK_MINIMUM} or later of "
                        "the 22.11 series with its static libraries (Debian 12: apt-get install "
                        "libdpdk-dev).")
endif()
if(STRAIT_DPDK_VERSION VERSION_LESS STRAIT_DPDK_MINIMUM)
    message(FATAL_ERROR "DPDK ${STRAIT_DPDK_VERSION} is too old: Strait needs "
                        "${STRAIT_DPDK_MINIMUM} or later, whose vhost library has the security "
                        "fixes that guests' sockets depend on (Debian 12: apt-get update && "
                        "apt-get install libdpdk-dev).")
endif()
if(STRAIT_DPDK_VERSION VERSION_GREATER_EQUAL "22.12")
    message(FATAL_ERROR "DPDK ${STRAIT_DPDK_VERSION} is not of the 22.11 series: Strait reads "
                        "structures of the vhost library that other series lay out differently.")
endif()

set(strait_dpdk_libraries
    kvargs telemetry eal ring rcu mempool mbuf net meter ethdev pci hash cryptodev dmadev gso
    ip_frag sched timer vhost
    bus_vdev bus_pci mempool_ring
    net_af_packet net_bond net_null net_pcap net_tap)

# Sets VAR to the path of a static library of DPDK's.
function(strait_find_dpdk_archive VAR NAME)
    find_library(STRAIT_DPDK_${NAME} NAMES librte_${NAME}.a HINTS ${STRAIT_DPDK_LIBRARY_DIRS})
    mark_as_advanced(STRAIT_DPDK_${NAME})
    if(NOT STRAIT_DPDK_${NAME})
        message(FATAL_ERROR "DPDK's static library librte_${NAME}.a was not found beside "
                            "libdpdk.pc: Strait links DPDK statically (Debian 12: apt-get install "
                            "libdpdk-dev).")
    endif()
    set(${VAR} "${STRAIT_DPDK_${NAME}}" PARENT_SCOPE)
endfunction()

set(strait_dpdk_archives)
foreach(name IN LISTS strait_dpdk_libraries)
    strait_find_dpdk_archive(archive ${name})
    list(APPEND strait_dpdk_archives "${archive}")
endforeach()
list(JOIN strait_dpdk_archives "," strait_dpdk_archives)

find_library(STRAIT_LIBNUMA NAMES numa)
find_library(STRAIT_LIBPCAP NAMES pcap)
find_library(STRAIT_LIBBSD NAMES bsd)
foreach(library IN ITEMS NUMA PCAP BSD)
    mark_as_advanced(STRAIT_LIB${library})
    if(NOT STRAIT_LIB${library})
        string(TOLOWER "${library}" name)
        message(FATAL_ERROR "lib${name}, which DPDK's static libraries need, was not found "
                            "(Debian 12: apt-get install lib${name}-dev).")
    endif()
endforeach()

add_library(strait_dpdk INTERFACE)
# rte_config.h is not included by every DPDK header that needs it; DPDK's own build forces it too.
target_compile_options(strait_dpdk INTERFACE "SHELL:-include rte_config.h")
target_compile_definitions(strait_dpdk INTERFACE ALLOW_EXPERIMENTAL_API)
target_include_directories(strait_dpdk SYSTEM INTERFACE ${STRAIT_DPDK_INCLUDE_DIRS})
# Drivers, mempool handlers and telemetry commands register themselves in constructors that nothing
# refers to: hence whole archives.
target_link_libraries(strait_dpdk INTERFACE
    "$<LINK_LIBRARY:WHOLE_ARCHIVE,${strait_dpdk_archives}>"
    ${STRAIT_LIBPCAP} ${STRAIT_LIBNUMA} ${STRAIT_LIBBSD} Threads::Threads ${CMAKE_DL_LIBS} m)

strait_find_dpdk_archive(archive net_virtio)
add_library(strait_dpdk_virtio INTERFACE)
target_link_libraries(strait_dpdk_virtio INTERFACE
    strait_dpdk "$<LINK_LIBRARY:WHOLE_ARCHIVE,${archive}>")

# NICs that servers, clouds and emulators have. mlx5 works beside the kernel's driver, by libibverbs.
set(strait_dpdk_nic_archives)
foreach(name IN ITEMS security bus_auxiliary common_iavf common_mlx5
        net_af_xdp net_bnxt net_e1000 net_ena net_i40e net_iavf net_ice net_igc net_ixgbe
        net_memif net_mlx5 net_virtio net_vmxnet3)
    strait_find_dpdk_archive(archive ${name})
    list(APPEND strait_dpdk_nic_archives "${archive}")
endforeach()
list(JOIN strait_dpdk_nic_archives "," strait_dpdk_nic_archives)
pkg_check_modules(STRAIT_NIC_LIBRARIES QUIET IMPORTED_TARGET libmlx5 libibverbs libxdp libbpf)
if(NOT STRAIT_NIC_LIBRARIES_FOUND)
    message(FATAL_ERROR "libibverbs, libmlx5, libxdp or libbpf, which DPDK's drivers need, was not "
                        "found (Debian 12: apt-get install libibverbs-dev libxdp-dev libbpf-dev).")
endif()
add_library(strait_dpdk_nics INTERFACE)
target_link_libraries(strait_dpdk_nics INTERFACE
    strait_dpdk "$<LINK_LIBRARY:WHOLE_ARCHIVE,${strait_dpdk_nic_archives}>"
    PkgConfig::STRAIT_NIC_LIBRARIES)

message(STATUS "DPDK ${STRAIT_DPDK_VERSION}, static, for -march=${STRAIT_MARCH}")
