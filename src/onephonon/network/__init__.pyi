from .bodies import Bodies, gather_bodies
from .contact_files import labelling, read_contact_table, start_values, write_contact_table
from .contacts import Contacts, find_contacts
from .force_constants import ForceConstants
from .interface_stiffness import InterfaceStiffness
from .interfaces import ContactFeatures, ContactTable, Interfaces, find_interfaces
from .springs import SpringPlan

__all__ = [
    "Bodies",
    "ContactFeatures",
    "ContactTable",
    "Contacts",
    "ForceConstants",
    "InterfaceStiffness",
    "Interfaces",
    "SpringPlan",
    "find_contacts",
    "find_interfaces",
    "gather_bodies",
    "labelling",
    "read_contact_table",
    "start_values",
    "write_contact_table",
]
